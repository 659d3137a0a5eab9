import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { nextStep } from '../../../attest-server/policy/advice.ts';
import { expectedNoResume } from '../../../attest-server/policy/boot/command-line-rules.ts';
import { type AdviceContext, isCommand } from '../../../attest-server/wire/advice.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { aspects } from '../../../attest-server/wire/verdict.ts';
import { runAssay } from '../cli/cli-fixture.ts';

const known: Required<AdviceContext> = {
  node: 'worker-3',
  group: 'workers',
  ek: 'ab'.repeat(32),
  evidence: 'cd'.repeat(32),
  name: 'worker-3-20261126-cdcdcd',
  reference: 'workers-1',
  file: 'ef'.repeat(32),
  declaredIn: '/etc/fleet',
  path: '/init',
  twin: 'worker-9',
};
const placeholder = /\b(?:NODE|EK_DIGEST|EVIDENCE|GROUP|NEW_NAME|REFERENCE|FILE_DIGEST|FILE_PATH|TWIN)\b/;
const linesOf = (advice: string) => advice.split('\n');

describe('what to do next', () => {
  it('is said for every code, with all that is known of the node in it', () => {
    for (const code of reasonCodes) {
      const advice = nextStep({ code, reference: 'workers-1', actual: 'worker-9, worker-8' }, known);
      assert.ok(advice.length > 0, code);
      assert.doesNotMatch(advice, placeholder, code);
    }
  });

  it('has commands in which no word is left to fill in, but a file that a person writes or keeps', () => {
    for (const code of reasonCodes)
      for (const aspect of aspects)
        for (const line of linesOf(nextStep({ code, aspect, reference: 'a', actual: 'b' }, known)).filter(
          isCommand,
        ))
          assert.doesNotMatch(
            line.replace(/ FILE$|"[^"]*"/g, ''),
            /(?<![=\w])[A-Z]{3,}\b(?!=)/,
            `${code}: ${line}`,
          );
  });

  it('on a line that lets an image be resumed is the word that it lacks', () => {
    const advice = nextStep({ code: 'cmdline_policy', aspect: 'boot', expected: expectedNoResume }, known);
    assert.match(advice, /Add nohibernate/);
    assert.doesNotMatch(nextStep({ code: 'cmdline_policy', aspect: 'boot' }, known), /nohibernate/);
  });

  it('has a line for each step, and each command alone on one', () => {
    for (const code of reasonCodes) {
      const lines = linesOf(nextStep({ code, reference: 'workers-1', actual: 'worker-9' }, known));
      for (const line of lines) {
        assert.equal(line, line.trimEnd(), code);
        if (isCommand(line))
          assert.match(
            line,
            /^ {2}(?:assay [a-z]|(?:systemctl|journalctl|kubectl|ls|wc|findmnt|lsblk|blkid) )/,
            code,
          );
        // Prose names a command only where it is no step of its own.
        else assert.doesNotMatch(line, /assay (?!reference compute --help)[a-z]+ [a-z]/, `${code}: ${line}`);
      }
      assert.ok(!isCommand(lines[0] ?? ''), code);
    }
  });

  it('is finished: name, digests and references are filled in', () => {
    const commands = (code: Parameters<typeof nextStep>[0]['code']) =>
      linesOf(nextStep({ code, actual: 'worker-9, worker-8', value: `file ${known.file}` }, known)).filter(
        isCommand,
      );
    assert.deepEqual(commands('kernel_unknown'), [
      '  assay boot diff worker-3',
      '  assay reference capture worker-3 --name worker-3-20261126-cdcdcd --staged',
      '  assay reference approve worker-3-20261126-cdcdcd --reason "its boots are wanted"',
      '  assay bundle worker-3 --evidence cdcdcdcdcdcd -f worker-3.json',
    ]);
    assert.deepEqual(commands('ima_unknown_file'), [
      '  assay reference runtime --from-dpkg /var/cache/apt/archives --name worker-3-20261126-cdcdcd-files --group workers -f worker-3-20261126-cdcdcd-files.json',
      '  assay reference import worker-3-20261126-cdcdcd-files.json',
      '  assay reference approve worker-3-20261126-cdcdcd-files --reason "the update is wanted"',
      `  assay reference capture worker-3 --kind runtime --only ${'ef'.repeat(32)} --name worker-3-20261126-cdcdcd-file --staged`,
      '  assay reference approve worker-3-20261126-cdcdcd-file --reason "its files are wanted"',
    ]);
    assert.deepEqual(commands('counter_rollback'), [
      `  assay enrol approve worker-3 --ek ${'ab'.repeat(32)}`,
    ]);
    assert.deepEqual(commands('ek_already_bound'), [
      '  assay enrol revoke worker-9 --reason "its TPM is that of worker-3"',
      '  assay enrol revoke worker-3 --reason "its TPM is that of worker-9"',
    ]);
  });

  it('puts a reference in force by a command, or where a signed directory says what it is', () => {
    const commands = (more: AdviceContext) =>
      linesOf(nextStep({ code: 'no_reference', aspect: 'boot', outOfForce: 'next' }, more)).filter((line) =>
        line.startsWith('  assay reference approve'),
      );
    assert.deepEqual(commands({ ...known, declaredIn: null }), [
      '  assay reference approve next --reason "its boots are wanted"',
    ]);
    assert.deepEqual(commands(known), []);
    assert.ok(nextStep({ code: 'no_reference', outOfForce: 'next' }, known).includes('/etc/fleet'));
  });

  it('is that of the aspect whose reason it is, where several know the code', () => {
    const commands = (aspect: 'boot' | 'disk' | 'firewall') =>
      linesOf(nextStep({ code: 'no_reference', aspect }, known)).filter((line) =>
        line.startsWith('  assay reference capture '),
      );
    assert.deepEqual(commands('boot'), [
      '  assay reference capture worker-3 --name worker-3-20261126-cdcdcd',
    ]);
    assert.match(
      commands('firewall').join(),
      /^ {2}assay reference capture worker-3 --kind firewall --name worker-3-20261126-cdcdcd-firewall$/,
    );
    assert.match(
      commands('disk').join(),
      /^ {2}assay reference capture worker-3 --kind disk --name worker-3-20261126-cdcdcd-disk$/,
    );
  });

  it('leaves out steps that need what is not there, and keeps the word where nothing is known', () => {
    const few = nextStep({ code: 'kernel_unknown' }, { node: 'worker-3' });
    assert.doesNotMatch(few, /--evidence/);
    assert.match(few, /capture worker-3 --name NEW_NAME/);
    const none = nextStep({ code: 'kernel_unknown' });
    for (const word of ['NODE', 'NEW_NAME', 'EVIDENCE']) assert.ok(none.includes(word), word);
    assert.match(nextStep({ code: 'kernel_unknown' }, { node: '$&' }), /assay boot diff \$&/);
  });

  it('is said in words of its own for what the evidence itself is refused for', () => {
    for (const code of [
      ...([
        'identity_unproven',
        'bank_mismatch',
        'sig_invalid',
        'pcr_digest_mismatch',
        'pcr_selection',
      ] as const),
      ...(['ak_name_mismatch', 'ak_attributes', 'ak_hierarchy', 'weak_key', 'ek_cert_key_mismatch'] as const),
      ...(['not_tpm_generated', 'wrong_attest_type', 'too_large'] as const),
    ])
      assert.notEqual(nextStep({ code }), nextStep({ code: 'label_tamper' }), code);
  });

  it('names commands that there are, with options that they have', async () => {
    const lines = reasonCodes.flatMap((code) =>
      linesOf(nextStep({ code, reference: 'workers-1', actual: 'worker-9' }, known)).filter(isCommand),
    );
    const ours = lines.filter((line) => line.trimStart().startsWith('assay '));
    const commands = new Set(ours.map((line) => line.trim().replace(/ \| .*/, '')));
    assert.ok(commands.size > 8);
    for (const command of commands) {
      const words = command.split(' ').slice(1);
      const path = words.slice(0, words.findIndex((word) => !/^[a-z][a-z-]*$/.test(word)) >>> 0);
      const { code, out, err } = await runAssay([...path, '--help']);
      assert.deepEqual([code, err], [0, ''], command);
      for (const option of words.filter((word) => /^--?[a-z]/.test(word)))
        assert.match(out, new RegExp(`${option}[ ,]`), command);
    }
  });
});
