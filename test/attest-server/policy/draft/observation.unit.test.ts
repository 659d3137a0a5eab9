import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { likeReferences, observe } from '../../../../attest-server/policy/draft/observation.ts';
import { unmatched } from '../../../../attest-server/policy/policy.ts';
import { likenessTo } from '../../../../attest-server/policy/reference-reach.ts';
import { withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { recordedLog, shimGrubBoots } from '../../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof } from '../made-proof.ts';

const node = { name: 'n', tpmClass: 'unknown', manufacturer: null } as const;

describe('what is observed of a boot', () => {
  const logs = [...shimGrubBoots, 'debian13-uki-systemd', 'debian13-efistub', 'fedora41-locality-3'].map(
    (name) => [name, withMadeFiles(recordedLog(name))] as const,
  );
  const boots = logs.flatMap(([name, log]) => [
    [name, madeProof({ log })] as const,
    [`${name}-own-initrd`, madeProof({ log: siblingLog(log, { initrd: true }) })] as const,
  ]);
  // Where none measures its initrd, both are one boot.
  const references = boots.map(
    ([name, proof]): Reference => ({ ...capturedFrom(proof), name, group: `of-${name}` }),
  );

  it('are the references that it is like, as comparing it with each one finds, whatever their group', () => {
    const like = likeReferences(references, 0);
    for (const [name, proof] of boots) {
      const each = references.filter((reference) =>
        atOnce(
          (likenessTo(reference) ?? assert.fail())(proof, 'n', { ...unmatched, name: reference.group }, 0),
        ),
      );
      assert.ok(
        each.some((reference) => reference.name === name),
        name,
      );
      assert.deepEqual(
        [...like(proof, 'n', unmatched).knownTo].sort(),
        each.map(({ group }) => group).sort(),
        name,
      );
    }
  });

  it('are as references that it is compared with only those of its group that are in force', () => {
    const [[name, proof] = assert.fail()] = boots;
    const [known = assert.fail()] = references.filter((one) => one.name === name);
    const compared = (change: Partial<Reference>) =>
      likeReferences([{ ...known, ...change }], 0)(proof, 'n', unmatched).references;
    assert.deepEqual(compared({ group: unmatched.name }), [name]);
    assert.deepEqual(compared({}), []);
    assert.deepEqual(compared({ group: unmatched.name, state: 'staged' }), []);
  });

  it('is why it cannot become a reference, where it cannot', () => {
    for (const [log, why] of [
      [recordedLog('debian13-uki-systemd'), null],
      [null, /no boot log/],
      [recordedLog('windows-fewer-digests'), /no kernel was measured/],
      [recordedLog('tdx-ccel'), /kernel_unknown|log/],
      // Its own reference does not mend that nothing measured what `initrd=` names.
      [recordedLog('debian13-efistub'), /^initrd_unmeasured: /],
    ] as const) {
      const { boot, noBoot } = observe(madeProof({ log }), node);
      assert.equal(boot === null, why !== null);
      if (why === null) assert.equal(noBoot, null);
      else assert.match(noBoot ?? '', why);
    }
  });
});
