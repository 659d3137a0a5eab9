import { run } from 'node-tpm2/run';
import { sources } from '../../swtpm-fixtures/programs.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { moreAbout } from './more-about.ts';

const { assay: _, ...others } = sources;

interface HelpPage {
  /** As it is typed: `assay get nodes`. */
  readonly command: string;
  readonly help: string;
  readonly isFamily: boolean;
}

/** docs/reference-commands.md with the commands that there are today, between its marks. */
export async function withCommands(page: string): Promise<string> {
  const all = [
    // In this process: it has four times as many commands as the others together.
    ...(await helpPages('assay', async (args) => (await runAssay(args)).out, [])),
    ...(
      await Promise.all(
        Object.entries(others).map(([name, file]) => helpPages(name, (args) => printed(file, args), [])),
      )
    ).flat(),
  ];
  const shown = all.filter(({ isFamily }) => !isFamily);
  const unknown = Object.keys(moreAbout).filter((command) => !shown.some((each) => each.command === command));
  if (unknown.length > 0) throw new Error(`more-about.ts: there is no command ${unknown.join(', ')}`);
  const text = [index(shown), ...shown.map(section)].join('\n\n');
  return page.replace(
    /(<!-- made of the programs -->\n)[\s\S]*(<!-- end -->)/,
    (_, begin: string, end: string) => `${begin}\n${text}\n\n${end}`,
  );
}

async function printed(file: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [file, ...args], {
    timeoutMs: 60_000,
    maxOutputBytes: 1024 * 1024,
  });
  return stdout.toString();
}

type Program = (args: readonly string[]) => Promise<string>;

async function helpPages(name: string, program: Program, path: readonly string[]): Promise<HelpPage[]> {
  const help = await program([...path, '--help']);
  const [, list = ''] = /^Commands:\n((?:.+\n)*)/m.exec(help) ?? [];
  const below = namesIn(path.length > 0 || list !== '' ? list : sectionsOf(help));
  const pages = await Promise.all(below.map((each) => helpPages(name, program, [...path, each])));
  // A program is shown beside its commands; a family of commands has nothing to say that these do not.
  const isFamily = below.length > 0 && (path.length > 0 || name === 'assay');
  return [{ command: [name, ...path].join(' '), help: withoutHelp(help), isFamily }, ...pages.flat()];
}

/** `assay` lists its commands under headings of their own. */
function sectionsOf(help: string): string {
  return [...help.matchAll(/^(?!Usage|Options|Arguments|Examples|Each)[A-Z][\w ]*:\n((?: .*\n)+)/gm)]
    .map(([, lines = '']) => lines)
    .join('');
}

function namesIn(list: string): readonly string[] {
  return [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== 'help');
}

/** That each command has --help stands once above all of them. */
function withoutHelp(help: string): string {
  return help
    .replace(/^ {2}-h, --help .*\n/m, '')
    .replace(/^ {2}help \[command\] .*\n/m, '')
    .replace(/^Options:\n\n/m, '')
    .trim();
}

/** One line for each command: the first sentence of its help. */
function index(pages: readonly HelpPage[]): string {
  const rows = pages.map(({ command, help }) => {
    const [, text = ''] = /^Usage:.*\n\n([\s\S]*?)(?:\n\n|$)/.exec(help) ?? [];
    const [first = ''] = text.replace(/\s+/g, ' ').split(/(?<=[a-z)]{2})[.;] /);
    const does = `${first.slice(0, 1).toLowerCase()}${first.slice(1)}`
      .replace(/\.$/, '')
      .replaceAll('|', '\\|');
    return `| [\`${command}\`](#${command.replaceAll(' ', '-')}) | ${does} |`;
  });
  return ['| command | does |', '|---|---|', ...rows].join('\n');
}

function section({ command, help }: HelpPage): string {
  const more = moreAbout[command];
  return [`### ${command}`, `\`\`\`text\n${help}\n\`\`\``, ...(more === undefined ? [] : [more])].join(
    '\n\n',
  );
}
