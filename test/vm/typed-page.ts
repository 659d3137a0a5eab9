import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a section of a page, without its subsections, has a person type and write, in its order. */
export interface PageSection {
  /** The lines at one prompt, such as `node#`; a text for each block of the page. */
  typed(prompt: string): readonly string[];
  /** The blocks of YAML. */
  readonly yaml: readonly string[];
}

/** @param page its name in docs/ @throws Error if it has no such section */
export function sectionOf(page: string, heading: string): PageSection {
  const text = readFileSync(join(import.meta.dirname, `../../docs/${page}.md`), 'utf8');
  const section = text.split(/^##+ /m).find((one) => one.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`docs/${page}.md has no section ${heading}`);
  const blocks = (kind: string) =>
    [...section.matchAll(new RegExp(`^\`\`\`${kind}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
      ([, block = '']) => block,
    );
  return {
    typed: (prompt) =>
      blocks('console')
        .map((block) =>
          block
            .split('\n')
            .flatMap((line) => (line.startsWith(`${prompt} `) ? line.slice(prompt.length + 1) : []))
            .join('\n'),
        )
        .filter((lines) => lines !== ''),
    yaml: blocks('yaml'),
  };
}
