import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { nextStep } from '../../../attest-server/policy/advice.ts';
import { adviceByExpected } from '../../../attest-server/policy/boot/advice.ts';
import { isCommand } from '../../../attest-server/wire/advice.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { aspects } from '../../../attest-server/wire/verdict.ts';

/** Programs that advice names; in the folder of the test each does nothing. */
const programs = [
  ...[
    'assay',
    'assay-agent',
    'awk',
    'blkid',
    'cryptsetup',
    'findmnt',
    'kubectl',
    'journalctl',
    'lsblk',
    'nft',
    'systemctl',
    'wc',
    'xargs',
  ],
  ...['iptables', 'ip6tables'].flatMap((name) => [`${name}-nft`, `${name}-legacy`]),
];

describe('what a node says, in the commands that are printed', () => {
  let dir = '';
  const canary = () => join(dir, 'canary');
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-typed-'));
    for (const name of programs) symlinkSync('/bin/true', join(dir, name));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  /** What the advice on each reason that could carry the text says to type, as far as the text is in it. */
  function commandsWith(text: string): readonly string[] {
    const usual = new Set(adviceWith('usual'));
    return adviceWith(text).filter((command) => !usual.has(command));
  }

  function adviceWith(text: string): readonly string[] {
    const chain = (kind: string) => [
      `@@ ${kind} ip filter INPUT @@`,
      '- type filter hook input priority 0 policy drop',
      `+ type filter hook input priority 0 policy ${text}`,
      `+ ${text}`,
      `+ -A INPUT -m comment --comment ${text} -j ACCEPT`,
      `- ${text}`,
      `@@ new ${kind} ip filter ${text} @@`,
      '+ accept',
      `@@ new ${kind} ${text} filter more @@`,
      `@@ nft ip filter set ${text} @@`,
      '+ 10.0.0.1',
      '@@ nft ip filter set trusted @@',
      `+ ${text}`,
    ];
    const said = [text, `file ${text}`, `initrd /${text}`, `initrd /a ${'ab'.repeat(32)} -> ${text}`];
    const reasons = reasonCodes.flatMap((code) =>
      aspects.flatMap((aspect) =>
        said.map((value) => ({ code, aspect, value, expected: text, actual: text })),
      ),
    );
    const ofInitrd = said.flatMap((value) =>
      [...adviceByExpected.keys()].map((expected) => ({
        code: 'facts_unavailable' as const,
        aspect: 'boot' as const,
        value,
        expected,
      })),
    );
    const drift = ['nft', 'iptables', 'legacy'].map((kind) => ({
      code: 'fw_drift' as const,
      aspect: 'firewall' as const,
      detail: chain(kind),
    }));
    const known = {
      node: 'node-1',
      group: 'workers',
      evidence: 'ab'.repeat(32),
      name: 'new',
      ek: 'cd'.repeat(32),
    };
    // Another node with its TPM is the server's own word.
    const ofNode = reasons.filter(({ code }) => code !== 'ek_already_bound');
    const commands = [...ofNode, ...ofInitrd, ...drift].flatMap((reason) =>
      nextStep(reason, known).split('\n').filter(isCommand),
    );
    return [...new Set(commands.map((line) => line.trim()))];
  }

  /** As a person pastes all of them, one after the other. */
  function typed(commands: readonly string[]) {
    const { status, stderr } = spawnSync('/bin/sh', ['-c', `${commands.join('\n')}\n:`], {
      env: { PATH: dir, HOME: dir },
      cwd: dir,
      encoding: 'utf8',
    });
    return { status, stderr };
  }

  it('is a word of some', () => {
    const commands = commandsWith("it's").filter((command) => command.includes("it'\\''s"));
    assert.ok(
      commands.some((command) => command.startsWith('assay reference capture')),
      commands.join('\n'),
    );
    assert.ok(
      commands.some((command) => /^iptables-legacy .* xargs/.test(command)),
      commands.join('\n'),
    );
  });

  for (const [what, text] of [
    ['a substitution', '$(/usr/bin/touch canary)'],
    ['a backquote', '`/usr/bin/touch canary`'],
    ['the end of a command', '; /usr/bin/touch canary #'],
    ['a pipe', 'x | /usr/bin/touch canary'],
    ['a background', 'x & /usr/bin/touch canary &'],
    ['a redirection', 'x > canary'],
    ['a single quote', "' ; /usr/bin/touch canary ; '"],
    ['a double quote', '" ; /usr/bin/touch canary ; "'],
    ['an escaped quote', "\\' ; /usr/bin/touch canary ; \\'"],
    ['a quote alone', "it's"],
    ['a line of its own', 'x\n/usr/bin/touch canary\n'],
    ['a carriage return', 'x\r/usr/bin/touch canary\r'],
    ['a command of advice', 'x\n  /usr/bin/touch canary'],
    ['nft’s end of a command', '10.0.0.1 }; flush ruleset; add element ip x y { 1'],
    ['an option', '--modprobe=/usr/bin/touch'],
    ['a text that turns', '\u202e yranac hcuot/nib/rsu/ ;'],
    ['a code of the terminal', '\u001b[2J\u009b31m\u0007'],
    ['what is invisible', 'x\u200b\u2028/usr/bin/touch canary'],
    ['NUL', 'x\u0000y'],
  ] as const)
    it(`is one word, or is left out: ${what} (row 407)`, () => {
      const commands = commandsWith(text);
      for (const command of commands) assert.match(command, /^[\x20-\x7e]+$/);
      assert.deepEqual(typed(commands), { status: 0, stderr: '' });
      assert.ok(!existsSync(canary()), commands.join('\n'));
    });

  it('is one word, or is left out, whatever it is (row 407)', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom(...'ab/ $`\'"\\;&|<>(){}*?~#!=-\n\r\t\u001b\u202e'),
          maxLength: 24,
        }),
        (text) => {
          assert.deepEqual(typed(commandsWith(text)), { status: 0, stderr: '' });
        },
      ),
      { numRuns: 10 },
    );
  });
});
