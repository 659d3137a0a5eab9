import { globSync } from 'node:fs';
import { join } from 'node:path';
import { renderText } from './kubernetes-tools.ts';
import { privilegesIn, privilegeTables } from './privileges.ts';

/** A page with the tables that follow from the chart today, between its marks. */
export async function withPrivileges(page: string): Promise<string> {
  const files = globSync(join(import.meta.dirname, 'values', '*.yaml')).sort();
  const [usual, ...others] = await Promise.all(
    [[], ...files.map((file) => [file])].map((named) => renderText({ files: named })),
  );
  // Names of namespaces and taints are the reader's own in some of them.
  const all = others.filter((text) => /^ {2}namespace: "assay"$/m.test(text)).flatMap(privilegesIn);
  const tables = privilegeTables(privilegesIn(usual ?? ''), all);
  return page.replace(
    /(<!-- made of the chart -->\n)[\s\S]*(<!-- end -->)/,
    (_, begin: string, end: string) => `${begin}\n${tables}\n\n${end}`,
  );
}
