// The anywidget bundle: one small module and one style sheet, without imports at run time.
import { build } from 'esbuild';
import { copyFileSync, mkdirSync } from 'node:fs';

const target = '../nbreactive/static';
mkdirSync(target, { recursive: true });
await build({
  entryPoints: ['src/widget.ts'],
  outfile: `${target}/live_table.js`,
  bundle: true,
  format: 'esm',
  minify: true,
  target: 'es2022',
  legalComments: 'none',
});
copyFileSync('style/live_table.css', `${target}/live_table.css`);
