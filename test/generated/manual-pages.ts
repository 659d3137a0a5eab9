import { version } from '../../attest-server/version.ts';
import { type HelpPage, summaryOf } from './help-pages.ts';

/** A page of man(1) for each program, with all its commands: roff, by the paths of their files. */
export function manualPages(all: readonly HelpPage[]): ReadonlyMap<string, string> {
  const programs = all.filter(({ command }) => !command.includes(' '));
  const pages = programs.map((program): [string, string] => {
    const name = program.command;
    const commands = all.filter(({ command, isFamily }) => command.startsWith(`${name} `) && !isFamily);
    const others = programs.flatMap(({ command }) => (command === name ? [] : [`.BR ${roff(command)} (1)`]));
    return [
      fileOf(name),
      [
        `.TH ${name.toUpperCase()} 1 "" "Assay ${version}" "Assay"`,
        '.nh\n.ad l',
        `.SH NAME\n${roff(name)} \\- ${roff(summaryOf(program.help))}`,
        ...sectionsOf(program.help, (heading) => `.SH ${roff(heading.toUpperCase())}`),
        ...(commands.length > 0 ? ['.SH COMMANDS IN DETAIL'] : []),
        ...commands.flatMap(({ command, help }) => [
          `.SS ${roff(command)}`,
          ...sectionsOf(help, (heading) => (isFirst(heading) ? '.PP' : `.PP\n.B ${roff(heading)}`)),
        ]),
        `.SH SEE ALSO\n${others.join(' ,\n')}`,
      ].join('\n') + '\n',
    ];
  });
  return new Map([...pages, [fileOf('kubectl-assay'), '.so man1/assay.1\n']]);
}

function fileOf(name: string): string {
  return `docs/man/man1/${name}.1`;
}

/** Headings of what every help begins with: only a program's own page has them. */
function isFirst(heading: string): boolean {
  return heading === 'Synopsis' || heading === 'Description';
}

const standard: Readonly<Record<string, string>> = { 'Exit codes': 'Exit status' };

/** Paragraphs of a help: usage, text, and lists under headings. */
function sectionsOf(help: string, heading: (text: string) => string): readonly string[] {
  return help.split('\n\n').flatMap((paragraph, index) => {
    const usage = /^Usage: ([\s\S]*)$/.exec(paragraph)?.[1];
    if (index === 0 && usage !== undefined) return [heading('Synopsis'), roff(usage)];
    const lines = paragraph.split('\n');
    const [, title] = /([A-Z][\w ]*):$/.exec(lines[0] ?? '') ?? [];
    const text = [...(index === 1 ? [heading('Description')] : ['.PP'])];
    if (title === undefined || lines.length === 1) return [...text, roff(lines.join(' '))];
    return [heading(standard[title] ?? title), ...listOf(lines.slice(1))];
  });
}

/** Entries of two columns, whose second one may go on in the lines below; else lines that are typed. */
function listOf(lines: readonly string[]): readonly string[] {
  const entries: { readonly term: string; readonly text: string[] }[] = [];
  for (const line of lines) {
    const [, term, text] = /^ {2,4}(\S(?:.*?\S)?)(?: {2,}(\S.*))?$/.exec(line) ?? [];
    if (term !== undefined) entries.push({ term, text: text === undefined ? [] : [text] });
    else entries.at(-1)?.text.push(line.trim());
  }
  if (entries.every(({ text }) => text.length === 0))
    return ['.PP\n.EX', ...entries.map(({ term }) => roff(term)), '.EE'];
  return entries.map(({ term, text }) => `.TP\n.B ${roff(term)}\n${roff(text.join(' '))}`);
}

/** Words of a person as words for roff, which has signs of its own. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replace(
      /[^\n -~]/gu,
      (sign) => `\\[u${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replace(/^\./gm, '\\&.');
}
