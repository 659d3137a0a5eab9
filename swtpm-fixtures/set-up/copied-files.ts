import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const readAtRunTime = ['attest-server/**/*.{pem,yaml}', 'attest-server/policy/file/policy.schema.json'];
const beside = [
  'attest-server/cli/assay.mjs',
  'attest-server/roots/{,intermediates/}SOURCES.md',
  'LICENSE',
  '{attest-server,agent,agent/gate,agent/unlock}/config.schema.json',
  'THIRD-PARTY-LICENSES.txt',
  '{README,SECURITY,CHANGELOG}.md',
  'docs/{,runbooks/}*.md',
  'docs/man/man1/*.1',
  'docs/{events.schema.json,why.svg}',
  'manifests/README.md',
  'manifests/{host,prometheus}/*.{conf,json,path,service,socket,timer,yaml}',
  'manifests/{base,chart,examples}/**/*.{json,md,tpl,txt,yaml}',
  'manifests/chart/.helmignore',
];

/** Copies what the package has of this tree as it is; in documents, links to anything else become plain text. */
export function copyFiles(root: string, out: string): void {
  const files = globSync([...readAtRunTime, ...beside], { cwd: root });
  for (const file of files) {
    mkdirSync(dirname(join(out, file)), { recursive: true });
    copyFileSync(join(root, file), join(out, file));
  }
  for (const file of files.filter((each) => each.endsWith('.md'))) {
    const text = readFileSync(join(out, file), 'utf8');
    const leads = (path: string) => existsSync(join(out, dirname(file), path));
    writeFileSync(join(out, file), withoutDeadLinks(text, leads));
  }
}

/** A fenced block, code in a line, or a link of Markdown with its text and the path without anchor. */
const codeOrLink = /^```[\s\S]*?^```|`[^`\n]*`|!?\[((?:[^[\]]|\[[^[\]]*\])*)\]\(([^)\s#]+)[^)\s]*\)/gm;

/** @param leads whether a path, relative to the document, leads to a file */
export function withoutDeadLinks(markdown: string, leads: (path: string) => boolean): string {
  return markdown.replace(codeOrLink, (all: string, text?: string, path?: string) =>
    text === undefined || path === undefined || /^[a-z]+:/.test(path) || leads(path) ? all : text,
  );
}
