import { run } from 'node-tpm2/run';
import { sources } from '../../swtpm-fixtures/programs.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';

const { assay: _, ...others } = sources;

/** What `--help` of a command prints. */
export interface HelpPage {
  /** As it is typed: `assay get nodes`. */
  readonly command: string;
  readonly help: string;
  readonly isFamily: boolean;
}

/** Of every program, each followed by its commands. */
export async function readHelpPages(): Promise<readonly HelpPage[]> {
  return [
    // In this process: it has four times as many commands as the others together.
    ...(await helpPages('assay', async (args) => (await runAssay(args)).out, [])),
    ...(
      await Promise.all(
        Object.entries(others).map(([name, file]) => helpPages(name, (args) => printed(file, args), [])),
      )
    ).flat(),
  ];
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

/** The first sentence after the usage. */
export function summaryOf(help: string): string {
  const [, text = ''] = /^Usage:.*\n\n([\s\S]*?)(?:\n\n|$)/.exec(help) ?? [];
  const [first = ''] = text.replace(/\s+/g, ' ').split(/(?<=[a-z)]{2})[.;] /);
  return `${first.slice(0, 1).toLowerCase()}${first.slice(1)}`.replace(/\.$/, '');
}
