import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { manualPages } from './manual-pages.ts';

const folder = join(import.meta.dirname, '../../docs/man/man1');
const bounds = { timeoutMs: 30_000, maxOutputBytes: 1 << 20 };

describe('manual pages', () => {
  it('have usage, text, options and examples as the help has them, and signs of roff as signs', () => {
    const help = `Usage: tool [options]

Does it. And more: .TH 'x' \\n "…"

.so /etc/passwd

Options:
  -o, --out <file>  where it is
                    written

Examples:
  $ tool -o 'a'
  $ tool`;
    const pages = manualPages([
      { command: 'tool', help, isFamily: true },
      { command: 'tool get', help: 'Usage: tool get\n\nlists', isFamily: true },
      { command: 'tool get all', help: 'Usage: tool get all\n\nlists all', isFamily: false },
      { command: 'other', help: 'Usage: other\n\nelse', isFamily: false },
    ]);
    const [, text = ''] = /^\.SH NAME\n([\s\S]*)$/m.exec(pages.get('docs/man/man1/tool.1') ?? '') ?? [];
    assert.deepEqual(text.split('\n'), [
      'tool \\- does it',
      '.SH SYNOPSIS',
      'tool [options]',
      '.SH DESCRIPTION',
      'Does it. And more: .TH \\(aqx\\(aq \\en \\(dq\\[u2026]\\(dq',
      '.PP',
      '\\&.so /etc/passwd',
      '.SH OPTIONS',
      '.TP',
      '.B \\-o, \\-\\-out <file>',
      'where it is written',
      '.SH EXAMPLES',
      '.PP',
      '.EX',
      '$ tool \\-o \\(aqa\\(aq',
      '$ tool',
      '.EE',
      '.SH COMMANDS IN DETAIL',
      '.SS tool get all',
      '.PP',
      'tool get all',
      '.PP',
      'lists all',
      '.SH SEE ALSO',
      '.BR other (1)',
      '',
    ]);
  });

  for (const name of readdirSync(folder))
    it(`${name} has nothing that groff warns of`, async function () {
      if (!existsSync('/usr/bin/groff')) this.skip();
      const args = ['-man', '-ww', '-Tutf8', '-z'];
      const { stderr } = await run('groff', args, { ...bounds, input: readFileSync(join(folder, name)) });
      assert.equal(stderr.toString().replace(/^.*can't open 'man1\/.*\n/gm, ''), '');
    });
});
