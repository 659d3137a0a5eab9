import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { nextStep } from '../../../../attest-server/policy/advice.ts';
import { isCommand, nodeWord } from '../../../../attest-server/wire/advice.ts';

const commandsOf = (...detail: readonly string[]) =>
  nextStep({ code: 'fw_drift', aspect: 'firewall', detail }, { node: 'node-1' })
    .split('\n')
    .filter((line) => isCommand(line) && !line.startsWith('  assay '));

describe('what takes a change of the firewall back', () => {
  it('has no words of a node that a terminal or a shell could read otherwise (row 405)', () => {
    for (const detail of [
      ['@@ nft inet filter input @@', '+ tcp dport 22 accept comment "\u202egnihton"'],
      ['@@ nft inet filter input @@', '+ tcp dport 22 accept comment "a very long one…'],
      ['@@ nft inet filter; reboot input @@', '+ tcp dport 22 accept'],
      ['@@ nft inet filter $(reboot) @@', '+ tcp dport 22 accept'],
      ['@@ nft inet filter -f @@', '+ tcp dport 22 accept'],
      ['@@ nft inet filter set trusted @@', '+ 10.0.0.9 }; flush ruleset; add element inet x y { 1'],
      ['@@ nft inet filter input @@', '+ type filter hook input priority 0 policy accept'],
      ['@@ nft inet filter input @@', '+ {"evil":1} accept'],
      ['@@ new nft inet filter $(reboot) @@', '+ accept'],
      ['@@ new nft inet filter set trusted @@'],
      ['+ tcp dport 22 accept'],
    ])
      assert.deepEqual(commandsOf(...detail), [], detail.join('\n'));
  });

  it('keeps the words that stand for something in advice as they are in a rule', () => {
    const [command = ''] = commandsOf('@@ nft inet filter NODE @@', '+ tcp dport 22 accept comment "GROUP"');
    assert.match(command, /list chain inet filter NODE .*comment "GROUP"/);
  });
});

describe('a word of a node', () => {
  it('is what a shell reads again as that one word, or is none', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii', maxLength: 40 }), (text) => {
        const word = nodeWord(text);
        if (word === null) return;
        const { stdout } = spawnSync('sh', ['-c', `printf '%s|' ${word}`]);
        assert.equal(stdout.toString(), `${text}|`);
      }),
      { numRuns: 50 },
    );
  });

  for (const text of ['', 'a\nb', 'a\u001b[2J', 'ü', '\u202e', 'a\u0000', 'a\u007f'])
    it(`is left out where it is ${JSON.stringify(text)}`, () => {
      assert.equal(nodeWord(text), null);
    });

  for (const text of [
    "it's",
    '$(reboot)',
    '`id`',
    '!!',
    '~',
    '=ls',
    'a b',
    '"',
    '\\',
    '-rf',
    '*',
    '#',
    ';',
    '&&',
  ])
    it(`is quoted where it is ${text}`, () => {
      const { stdout } = spawnSync('sh', ['-c', `printf '%s|' ${nodeWord(text)}`]);
      assert.equal(stdout.toString(), `${text}|`);
    });
});
