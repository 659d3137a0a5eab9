import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { type ImaArea, parseImaPolicy } from '../../../../attest-server/formats/ima-policy.ts';
import { missingAreas, policyInForce } from '../../../../attest-server/policy/runtime/policy-in-force.ts';
import { runtimeSchema } from '../../../../attest-server/policy/runtime/schema.ts';

const boot = (...lines: readonly string[]) => ({
  commandLines: lines.map((text, event) => ({ event, text })),
  components: [],
});
/** The list of one kernel. */
const one = { aggregates: [0], elsewhere: 0 };
const covered = (...lines: readonly string[]) => policyInForce(boot(...lines), one, []);
const tcb: readonly ImaArea[] = ['exec', 'mmap', 'modules', 'policy', 'rootReads'];
const older: readonly ImaArea[] = ['exec', 'mmap', 'modules'];

describe('what the kernel measures for sure', () => {
  for (const [lines, covers] of [
    [[], []],
    [['ro quiet'], []],
    [['ro ima_policy=tcb'], tcb],
    [['ro ima-policy=tcb'], tcb],
    [['ro "ima_policy=tcb|critical_data"'], [...tcb, 'criticalData']],
    [['ro ima_policy="tcb|critical_data"'], [...tcb, 'criticalData']],
    [['ro ima_policy=tcb ima_policy=critical_data'], [...tcb, 'criticalData']],
    [['ro ima_policy=appraise_tcb|secure_boot'], []],
    [['ro ima_policy=tcb|of_a_later_kernel'], tcb],
    [['ro ima_policy=TCB'], []],
    [['ro ima_tcb'], older],
    [['ro ima_policy=ima_tcb'], []],
    [['ro ima_tcb ima_policy=tcb'], older],
    [['ro ima_policy=tcb ima_tcb'], tcb],
    // What comes behind it is for init.
    [['ro -- ima_policy=tcb'], []],
    // Any line that the TPM vouches for may be the one that counts.
    [['ro ima_policy=tcb', 'ro'], []],
    [['ro ima_policy=tcb', 'ro ima_policy=tcb|critical_data'], tcb],
    // Attack: the kernel reads no such long line to its end.
    [[`ro ima_policy=tcb ${'a'.repeat(4096)}`], []],
  ] as const)
    it(`by ${lines.map((line) => line.slice(0, 64)).join(' and ') || 'no line'}: ${covers.join(', ') || 'nothing'}`, () =>
      assert.deepEqual(covered(...lines).covers.toSorted(), covers.toSorted()));

  it('is nothing where a line is not known, or kexec started another kernel', () => {
    const unknown = {
      event: 9,
      pcr: 9,
      kind: 'cmdline',
      text: null,
      type: 'EV_IPL',
      stage: 'cmdline',
    } as const;
    const component = { ...unknown, digests: {}, content: null, describes: '' };
    const { commandLines } = boot('ima_policy=tcb');
    assert.deepEqual(policyInForce({ commandLines, components: [component] }, one, []).covers, []);
    assert.deepEqual(policyInForce(boot('ima_policy=tcb'), { ...one, aggregates: [0, 9] }, []).covers, []);
    assert.deepEqual(policyInForce(null, one, []).covers, []);
  });

  it('is what every policy covers that may be in force', () => {
    const loaded = (...covers: readonly ImaArea[]) => ({ covers, of: 'ours' });
    const both = (...policies: readonly ReturnType<typeof loaded>[]) =>
      policyInForce(boot('ima_policy=tcb'), one, policies).covers;
    assert.deepEqual(both(loaded('exec', 'keys')), ['exec']);
    assert.deepEqual(both(loaded('exec', 'mmap'), loaded('mmap')), ['mmap']);
  });

  it('is all but keys by the policy that docs/runtime.md has, beside the line that it names', () => {
    const page = readFileSync(join(import.meta.dirname, '../../../../docs/runtime.md'), 'utf8');
    const blocks = [...page.matchAll(/^```text\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
    const [line = '', file = ''] = blocks;
    const { covers } = parseImaPolicy(file);
    const loaded = [{ covers, of: 'ours' }];
    const inForce = policyInForce(boot(`root=/dev/vda ro ${line.trim()}`), one, loaded);
    const { policy } = runtimeSchema.parse({});
    assert.deepEqual(missingAreas(policy.covers, covers), []);
    assert.deepEqual(missingAreas(policy.covers, inForce.covers), []);
  });

  for (const [line, isSigned] of [
    ['ima_policy=tcb', false],
    ['ima_policy=tcb|secure_boot', true],
    ['ima_policy=secure_boot ima_appraise=enforce', true],
    ['ima_policy=secure_boot ima_appraise=log', false],
    ['ima_policy=secure_boot ima-appraise=fix', false],
  ] as const)
    it(`${isSigned ? 'demands' : 'does not demand'} signed policies by ${line}`, () =>
      assert.equal(covered(line).isSigned, isSigned));

  it('includes what kexec loads where one policy names it, and the other one has all that root reads', () => {
    const programs = ['exec', 'mmap', 'modules', 'kexec', 'policy', 'criticalData'] as const;
    const line = boot('ima_policy="tcb|critical_data"');
    const covers = (loaded: readonly ImaArea[]) =>
      policyInForce(line, one, [{ covers: loaded, of: 'own' }]).covers;
    assert.deepEqual(covers(programs), programs);
    assert.deepEqual(covers(['exec', 'policy']), ['exec', 'policy']);
  });

  it('includes what kexec loads where it is all that root reads', () => {
    assert.deepEqual(missingAreas(['kexec', 'keys'], ['rootReads']), ['keys']);
    assert.deepEqual(missingAreas(['kexec', 'rootReads'], ['kexec']), ['rootReads']);
    assert.deepEqual(missingAreas(['kexec'], ['exec']), ['kexec']);
  });
});
