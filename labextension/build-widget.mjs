// The anywidget bundles: a small module and a style sheet each, without imports at run time.
import { build } from 'esbuild';
import { copyFileSync, mkdirSync } from 'node:fs';

const target = '../nbreactive/static';
mkdirSync(target, { recursive: true });
for (const name of ['live_table', 'file_upload', 'presence', 'infinite_list', 'live_form', 'live_value', 'text_editor']) {
  await build({
    entryPoints: [`src/widgets/${name}.ts`],
    outfile: `${target}/${name}.js`,
    bundle: true,
    format: 'esm',
    minify: true,
    target: 'es2022',
    legalComments: 'none',
  });
  copyFileSync(`style/${name}.css`, `${target}/${name}.css`);
}
