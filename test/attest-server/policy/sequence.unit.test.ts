import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type ClockReading, judgeSequence, type Sequence } from '../../../attest-server/policy/sequence.ts';

const first: ClockReading = {
  resetCount: 5,
  restartCount: 1,
  clock: 100_000_000n,
  firmwareVersion: '2024012500120000',
  bootId: 'a',
};

/** What differs from the sighting `first`. */
type Change = Partial<ClockReading> & { readonly concurrent?: boolean };

/** Of each sighting, one after the other: how it began, and the codes found. */
function codesOf(sightings: readonly Change[]): string[] {
  let past: Sequence | null = judgeSequence(null, first).next;
  return sightings.map(({ concurrent, ...change }) => {
    const { findings, next, begun } = judgeSequence(past, { ...first, ...change }, concurrent);
    past = next;
    return [...(begun === null ? [] : [begun]), ...findings.map(({ code }) => code)].join(' ');
  });
}

describe('the life of a TPM and its kernel', () => {
  const table: readonly (readonly [string, readonly Change[], readonly string[]])[] = [
    ['nothing moved but the clock', [{ clock: 100_000_500n }], ['']],
    [
      'row 26: the clock went back within one reset',
      [{ clock: 99_999_999n }],
      ['clock_rewind counter_rollback'],
    ],
    ['an answer to an older challenge has an older clock', [{ clock: 99_999_999n, concurrent: true }], ['']],
    [
      'an answer to an older challenge makes no clone of what goes back later',
      [{ clock: 99_999_999n, concurrent: true }, { clock: 100_000_500n }, { clock: 100_000_400n }],
      ['', '', 'clock_rewind counter_rollback'],
    ],
    ['a reboot', [{ resetCount: 6, bootId: 'b', clock: 100_000_500n }], ['rebooted']],
    [
      'a reboot after a suspend, which begins the restart counter anew',
      [
        { resetCount: 6, restartCount: 0, bootId: 'b', clock: 100_000_500n },
        { resetCount: 6, restartCount: 0, bootId: 'b', clock: 100_000_900n },
      ],
      ['rebooted', ''],
    ],
    [
      'a power loss that took the last minutes of the clock with it',
      [{ resetCount: 6, bootId: 'b', clock: 97_000_000n }],
      ['rebooted'],
    ],
    [
      'row 28: a clock anew after a reset is told once and not held: a firmware TPM, or a cleared one behind reboots',
      [
        { resetCount: 9, bootId: 'b', clock: 5_000n },
        { resetCount: 9, bootId: 'b', clock: 6_000n },
      ],
      ['rebooted rebooted', ''],
    ],
    [
      'row 28: a clock that fell over a restart within one reset',
      [{ restartCount: 2, clock: 99_999_999n }],
      ['resumed counter_rollback'],
    ],
    ['row 28 and 103: the reset counter fell', [{ resetCount: 4, bootId: 'b' }], ['counter_rollback']],
    ['the restart counter fell', [{ restartCount: 0 }], ['counter_rollback']],
    ['row 29: suspended and resumed', [{ restartCount: 2, clock: 100_000_500n }], ['resumed']],
    [
      'row 30: another TPM firmware is told in the boot that brought it, and not held',
      [
        { resetCount: 6, bootId: 'b', clock: 100_000_100n, firmwareVersion: '2025012500120000' },
        { resetCount: 6, bootId: 'b', clock: 100_000_200n, firmwareVersion: '2025012500120000' },
        { resetCount: 7, bootId: 'c', clock: 100_000_300n, firmwareVersion: '2025012500120000' },
      ],
      ['rebooted tpm_firmware', 'tpm_firmware', 'rebooted'],
    ],
    [
      'row 30: TPM firmware that goes back to what was good once is told, too',
      [
        { resetCount: 6, bootId: 'b', firmwareVersion: '2025012500120000' },
        { resetCount: 7, bootId: 'c', firmwareVersion: '2025012500120000' },
        { resetCount: 8, bootId: 'd' },
      ],
      ['rebooted tpm_firmware', 'rebooted', 'rebooted tpm_firmware'],
    ],
    [
      'rows 27 and 31: the TPM was reset, the kernel runs on',
      [{ resetCount: 6 }],
      ['rebooted boot_correlation rebooted'],
    ],
    ['row 99: another kernel without a reset', [{ bootId: 'b' }], ['kexec_detected']],
    [
      'row 84: reboot after suspend raises both counters',
      [
        { resetCount: 6, restartCount: 0, bootId: 'b', clock: 100_000_500n },
        { resetCount: 6, restartCount: 2, bootId: 'c', clock: 100_000_900n },
      ],
      ['rebooted', 'resumed'],
    ],
    [
      'row 100: two machines with one TPM, their clocks interleave',
      [{ clock: 100_000_900n }, { clock: 100_000_500n }, { clock: 100_001_900n }, { clock: 100_001_500n }],
      [
        '',
        'clock_rewind counter_rollback',
        'counter_rollback',
        'counter_rollback clock_rewind clone_suspected',
      ],
    ],
    [
      'row 100: two kernels with one TPM take turns',
      [
        { bootId: 'b', clock: 100_000_100n },
        { bootId: 'a', clock: 100_000_200n },
      ],
      ['kexec_detected', 'clone_suspected'],
    ],
    [
      'a rolled-back TPM stays held, whatever it says later',
      [{ resetCount: 4 }, { resetCount: 6, bootId: 'b', clock: 100_000_500n }],
      ['counter_rollback', 'rebooted counter_rollback'],
    ],
    [
      'row 30: a rollback is held also where the firmware is new',
      [
        { firmwareVersion: '2025012500120000' },
        { firmwareVersion: '2025012500120000', clock: 99_999_999n },
        { firmwareVersion: '2025012500120000', resetCount: 6, bootId: 'b', clock: 100_000_500n },
      ],
      ['tpm_firmware', 'clock_rewind counter_rollback tpm_firmware', 'rebooted counter_rollback'],
    ],
    [
      'a kernel that kexec started stays another one until the TPM is reset',
      [
        { bootId: 'b' },
        { bootId: 'b', clock: 100_000_100n },
        { resetCount: 6, bootId: 'c', clock: 100_000_200n },
      ],
      ['kexec_detected', 'kexec_detected', 'rebooted'],
    ],
    ['an agent that says no boot id', [{ bootId: null }, { bootId: 'a' }], ['', '']],
  ];
  for (const [name, sightings, codes] of table) it(name, () => assert.deepEqual(codesOf(sightings), codes));

  it('row 30: says of TPM firmware which versions they are, which is older, and warns of it', () => {
    const told = (from: string, to: string) => {
      const past = judgeSequence(null, { ...first, firmwareVersion: from }).next;
      const [finding, ...more] = judgeSequence(past, { ...first, firmwareVersion: to }).findings;
      assert.deepEqual(more, []);
      assert.ok(finding);
      const { code, severity, expected, actual, text } = finding;
      return { code, severity, expected, actual, isOlder: text.includes('which is older') };
    };
    const [low, high] = ['00070055001dab00', '000700550026ffff'];
    const warned = { code: 'tpm_firmware', severity: 'warn' };
    assert.deepEqual(told(low, high), { ...warned, expected: low, actual: high, isOlder: false });
    assert.deepEqual(told(high, low), { ...warned, expected: high, actual: low, isOlder: true });
  });

  it('row 30: keeps which TPM firmware was replaced for later boots, for policies that want it approved', () => {
    const past = judgeSequence(null, first).next;
    const now = { ...first, firmwareVersion: '2025012500120000' };
    const changed = judgeSequence(past, now);
    assert.equal(changed.replaced, null);
    const booted = judgeSequence(changed.next, { ...now, resetCount: 6, bootId: 'b' });
    assert.deepEqual(
      [booted.replaced?.code, booted.replaced?.expected, booted.replaced?.actual],
      ['tpm_firmware', first.firmwareVersion, now.firmwareVersion],
    );
  });
});
