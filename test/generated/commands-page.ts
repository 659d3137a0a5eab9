import { type HelpPage, summaryOf } from './help-pages.ts';
import { moreAbout } from './more-about.ts';

/** docs/reference-commands.md with the commands that there are today, between its marks. */
export function withCommands(page: string, all: readonly HelpPage[]): string {
  const shown = all.filter(({ isFamily }) => !isFamily);
  const unknown = Object.keys(moreAbout).filter((command) => !shown.some((each) => each.command === command));
  if (unknown.length > 0) throw new Error(`more-about.ts: there is no command ${unknown.join(', ')}`);
  const text = [index(shown), ...shown.map(section)].join('\n\n');
  return page.replace(
    /(<!-- made of the programs -->\n)[\s\S]*(<!-- end -->)/,
    (_, begin: string, end: string) => `${begin}\n${text}\n\n${end}`,
  );
}

/** One line for each command: the first sentence of its help. */
function index(pages: readonly HelpPage[]): string {
  const rows = pages.map(({ command, help }) => {
    const does = summaryOf(help).replaceAll('|', '\\|');
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
