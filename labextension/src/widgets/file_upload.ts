/** `nbreactive.FileUpload` as an anywidget: the kernel calls the functions, this sends the files. */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { readPlace } from '../connection/storage';
import { Uploads, type Arrived, type Told } from '../connection/uploads';

export interface UploadModel {
  accept: string;
  multiple: boolean;
  label: string;
  files: unknown;
  arrived: Arrived[];
}

const TRAITS: (keyof UploadModel)[] = ['accept', 'multiple', 'label', 'files'];
/** Files of one view, so that those of the next one are told apart. */
const MANY = 1_000_000;

export function readOptions(model: Pick<AnyModel<UploadModel>, 'get'>) {
  return {
    accept: model.get('accept'),
    multiple: model.get('multiple'),
    label: model.get('label'),
    place: readPlace(model.get('files')),
  };
}

export default () => {
  // Pages that show the same widget do not know of each other
  let first = Math.floor(Math.random() * 1_000_000_000) * MANY;

  function render({ model, el, signal }: RenderProps<UploadModel>): void {
    const view = new Uploads(
      el.ownerDocument,
      (message, buffers) => model.send(message, undefined, buffers),
      (first += MANY),
    );
    const paint = () => view.update(readOptions(model));
    const hear = (told: unknown) => view.hear(told as Told);
    const list = () => view.arrived(model.get('arrived') ?? []);
    paint();
    list();
    el.append(view.node);
    TRAITS.forEach(trait => model.on(`change:${trait}`, paint));
    model.on('change:arrived', list);
    model.on('msg:custom', hear);
    signal.addEventListener('abort', () => {
      TRAITS.forEach(trait => model.off(`change:${trait}`, paint));
      model.off('change:arrived', list);
      model.off('msg:custom', hear);
      view.dispose();
    });
  }

  return { render };
};
