/** Stored files: looked at, added, deleted. */

import { pageBase, storedFile, uploadAddress, downloadRequest } from '../../connection/storage';
import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import { bytes, moment, number, records, text, type Fields } from '../values';

/** What browsers show as a picture, and what runs nothing. */
const PICTURES = /^image\/(png|jpeg|gif|webp|avif|bmp)$/;
/** Larger pictures are looked at in a tab of their own. */
const LARGEST = 5_000_000;

export class FilesPage extends LivePage {
  private readonly _rows: Rows<Fields>;
  private readonly _preview: HTMLElement;
  private readonly _input: HTMLInputElement;
  private readonly _upload: HTMLButtonElement;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say, backend } = around;
    this._input = dom.make('input', {
      class: 'nbr-panel-hidden',
      attrs: { 'aria-label': say('Files to upload'), tabindex: '-1' },
      on: { change: () => this._send() },
    });
    this._input.type = 'file';
    this._input.multiple = true;
    this._upload = dom.button(say('Upload'), () => this._input.click());
    this._preview = dom.make('section', { class: 'nbr-panel-editor', attrs: { 'aria-label': say('Preview') } });
    this._preview.hidden = true;
    this._rows = new Rows<Fields>(dom, {
      label: say('Files'),
      empty: say('no files'),
      key: file => text(file._id),
      open: file => this._open(file),
      columns: [
        { name: 'id', label: say('File'), text: file => text(file._id), title: file => text(file.sha256) },
        { name: 'type', label: say('Type'), text: file => text(file.contentType) },
        { name: 'size', label: say('Size'), text: file => bytes(file.size), number: true },
        { name: 'time', label: say('Stored'), text: file => moment(file._creationTime) },
        {
          name: 'delete',
          label: '',
          make: row =>
            this.sure(
              say('Delete'),
              button => {
                const id = text(row()._id);
                void this.run(button, () => backend.act('_system/panel:delete_file', { id }), say('The file was deleted.'));
              },
              say('Delete %1', text(row()._id)),
            ),
        },
      ],
    });
    this.node.append(
      dom.make('div', { class: 'nbr-panel-bar' }, this._upload, this._input),
      this._preview,
      this._rows.node,
    );
  }

  show(): void {
    this.follow('files', '_system/panel:files', { limit: 200 }, value => this._rows.update(records(value)));
  }

  private get _place(): { mount: string; url: string } {
    return { mount: this.around.mount, url: '' };
  }

  private _open(file: Fields): void {
    const { dom, say } = this.around;
    const address = storedFile(file.url);
    const request = address === null ? null : downloadRequest(this._place, dom.document, address);
    const close = () => (this._preview.hidden = true);
    const bar = dom.make('div', { class: 'nbr-panel-bar' }, dom.make('strong', {}, text(file._id)));
    if (request !== null) {
      const link = dom.make('a', { attrs: { download: '', rel: 'noopener' } }, say('Download'));
      link.href = request.url;
      bar.append(link);
    }
    bar.append(dom.button(say('Close'), close));
    this._preview.replaceChildren(bar);
    if (request !== null && PICTURES.test(text(file.contentType)) && number(file.size) <= LARGEST) {
      const picture = dom.make('img', { class: 'nbr-panel-picture' });
      picture.alt = say('Preview of %1', text(file._id));
      picture.src = request.url;
      this._preview.append(picture);
    } else if (request !== null && /^(text\/|application\/json)/.test(text(file.contentType))) {
      const shown = dom.make('pre', { class: 'nbr-panel-source', attrs: { tabindex: '0', 'aria-label': say('Content') } });
      this._preview.append(shown);
      void this._read(request.url, shown);
    } else {
      this._preview.append(dom.make('p', {}, say('There is no preview of this type.')));
    }
    this._preview.hidden = false;
  }

  private async _read(url: string, shown: HTMLElement): Promise<void> {
    const answer = await fetch(url, { credentials: 'same-origin', headers: { Range: 'bytes=0-19999' } });
    shown.textContent = answer.ok ? (await answer.text()).slice(0, 20_000) : `${answer.status}`;
  }

  private _send(): void {
    const files = [...(this._input.files ?? [])];
    this._input.value = '';
    const { say } = this.around;
    void this.run(
      this._upload,
      async () => {
        for (const file of files) {
          await this._sendOne(file);
        }
      },
      files.length === 1 ? say('The file was uploaded.') : say('%1 files were uploaded.', files.length),
    );
  }

  private async _sendOne(file: File): Promise<void> {
    const { backend, dom, say } = this.around;
    const signed = text(await backend.act('_system/panel:upload_url', {}));
    const address = pageBase(dom.document) === null ? null : uploadAddress(this._place, dom.document, signed);
    if (address === null) {
      throw new Error(say('files are uploaded from pages of a Jupyter server'));
    }
    const headers: Record<string, string> = file.type ? { 'Content-Type': file.type } : {};
    const answer = await fetch(address, { method: 'POST', body: file, headers, credentials: 'same-origin' });
    if (!answer.ok) {
      throw new Error(say('%1 was not uploaded: the server answered %2', file.name, answer.status));
    }
  }
}
