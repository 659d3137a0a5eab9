import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { DigestList } from '../../../../attest-server/formats/digest-list.ts';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import { parseFiles } from '../../../../attest-server/formats/reference.ts';
import { captureReferencesInSteps } from '../../../../attest-server/policy/capture.ts';
import { groupOf } from '../../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { proved } from '../../verify/ima/made-list.ts';
import { bankByHand, provenByHand } from '../../verify/made-by-hand.ts';
import { madeProof } from '../made-proof.ts';
import { at, judged, runtimePolicy } from './running-node.ts';

/** Two boots of one disk, under ima_policy=tcb: the firmware of the other one started another way. */
const [first, sibling] = ['quote-vm-shim-grub', 'quote-vm-four-banks'] as const;
const policy = runtimePolicy();
const booted = madeProof({ log: recordedLog('debian13-shim-grub') });
const capture = (name: string) => {
  const answers = [{ node: name, proven: ranOn(name) }];
  const about = { name: 'captured', state: 'active', by: 'me', at, only: null } as const;
  const [made] = atOnce(captureReferencesInSteps('runtime', answers, groupOf(policy, name, {}), about));
  return made ?? assert.fail();
};

describe('what a recorded kernel measured', () => {
  it('becomes a reference of all its files', () => {
    const list = parseFiles(capture(first).runtime ?? assert.fail());
    // 107 entries, of which one is boot_aggregate.
    assert.equal(list.fileCount, 106);
    assert.deepEqual(list.filesAt('boot_aggregate'), []);
    assert.equal(list.filesAt('/bin/busybox').length, 1);
  });

  it('is affirmed by what was captured of the sibling', () => {
    for (const [one, other] of [
      [first, sibling],
      [sibling, first],
    ] as const)
      assert.deepEqual(judged(ranOn(other), [capture(one)]).reasons, []);
  });

  it('is told file by file where one of them is not known', () => {
    const whole = capture(first);
    const files = [...parseFiles(whole.runtime ?? assert.fail()).files()];
    const without = files.filter(({ path }) => path !== '/bin/busybox');
    assert.equal(without.length, files.length - 1);
    const list = DigestList.of(without);
    const runtime = { files: list.toBytes().toString('base64'), count: list.fileCount };
    const reference = { ...whole, runtime };
    const { reasons } = judged(ranOn(sibling), [reference]);
    assert.deepEqual(
      reasons.map(({ code, detail }) => [code, detail?.length]),
      [['ima_unknown_file', 1]],
    );
    assert.match(reasons[0]?.actual ?? '', /^\/bin\/busybox sha256:/);
  });
});

const recorded = new URL('../../../../swtpm-fixtures/recorded/', import.meta.url);
const expectation = z.object({ pcrs: z.object({ sha256: z.record(z.string(), z.string()) }) });

/** What the list proves beside the PCR 10 that was quoted with it, of a boot whose command line is vouched for. */
function ranOn(name: string): Proven {
  const read = (file: string) => readFileSync(new URL(`${name}/${file}`, recorded));
  const { pcrs } = expectation.parse(JSON.parse(read('expected.json').toString()));
  const values = Buffer.alloc(24 * 32);
  values.write(pcrs.sha256[10] ?? assert.fail(), 10 * 32, 'hex');
  const { list } = proved(read('binary_runtime_measurements'), [
    bankByHand({ bank: 'sha256', mask: 0xffffff, values }),
  ]);
  assert.ok(list !== null && 'head' in list);
  return provenByHand(booted, { ima: list });
}
