import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import type { Reference } from '../../../../../attest-server/formats/reference.ts';
import { policyJsonSchema } from '../../../../../attest-server/policy/file/policy-schema.ts';
import { withMadeFiles } from '../../../../../swtpm-fixtures/loader-files.ts';
import { recordedPackages } from '../../../../swtpm-fixtures/recorded-initrd.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof } from '../../../policy/made-proof.ts';
import { runAssay } from '../../cli-fixture.ts';
import { recordedBundle } from '../recorded-bundle.ts';

const policyOf = (fields: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: default, nodes: ["*"], ${fields}}\n`;

/** A recorded quote beside a log of another boot, as a server exports it under a policy. */
function bundleOf(node: string, policy: string | null): string {
  return JSON.stringify(
    recordedBundle('quote-vm-shim-grub', {
      bootLog: recordedLog('debian13-shim-grub-kernel').toString('base64'),
      ...(policy !== null && { context: { at: '2026-11-20T12:00:00.000Z', node, policy, references: [] } }),
    }),
  );
}

describe('assay policy check', () => {
  it('takes what a server in a cluster takes, and says so', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'assay-policy-'));
    try {
      writeFileSync(join(cwd, 'vendor.yaml'), policyOf('enrolment: [vendor, first-use]'));
      const { code, err } = await runAssay(['policy', 'check', 'vendor.yaml'], { cwd });
      assert.equal(code, 0);
      assert.match(err, /^vendor\.yaml:1: groups\.0\.enrolment: warning: vendor is offered by .*\n$/);
    } finally {
      rmSync(cwd, { recursive: true });
    }
  });
});

describe('assay policy', () => {
  let cwd: string;
  const write = (name: string, text: string) => writeFileSync(join(cwd, name), text);

  before(() => {
    cwd = mkdtempSync(join(tmpdir(), 'assay-policy-'));
    mkdirSync(join(cwd, 'bundles'));
    write('bundles/one.json', bundleOf('one', policyOf('require: [identity]')));
    write('bundles/other.json', bundleOf('other', null));
    write('bundles/broken.json', '{}');
    write('good.yaml', policyOf('require: [identity, boot]'));
    write('same.yaml', policyOf('require: [identity], mode: observe'));
    write('doubtful.yaml', policyOf('boot: {scope: {initrd: unpinned}}'));
    write('by-node.yaml', policyOf('require: [identity, boot], boot: {scope: {loader: node}}'));
    mkdirSync(join(cwd, 'references'));
    const log = recordedLog('debian11-shim-grub');
    for (const [name, proven] of [
      ['seen', madeProof({ log: withMadeFiles(log) })],
      ['unseen', madeProof({ log })],
    ] as const)
      write(`references/${name}.json`, JSON.stringify(capturedFrom(proven, { name, group: 'default' })));
    write('bad.yaml', policyOf('mode: enforced, severity: {kernel_unknow: warn}'));
  });

  after(() => rmSync(cwd, { recursive: true }));

  it('check passes what can be used, and says its revision', async () => {
    const { code, out, err } = await runAssay(['policy', 'check', 'good.yaml'], { cwd });
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^good\.yaml is valid: good@[0-9a-f]{12}, 1 group$/m);
  });

  it('check tells each fault by file, line and field, and fails', async () => {
    const { code, err } = await runAssay(['policy', 'check', 'bad.yaml'], { cwd });
    assert.equal(code, 1);
    assert.match(err, /^bad\.yaml:4: groups\.0\.mode: .*enforce\?$/m);
    assert.match(err, /^bad\.yaml:4: groups\.0\.severity\.kernel_unknow: .*kernel_unknown\?$/m);
  });

  it('check gives both as JSON', async () => {
    const bad = await runAssay(['policy', 'check', 'bad.yaml', '-o', 'json'], { cwd });
    const { valid, faults } = JSON.parse(bad.out);
    assert.deepEqual([bad.code, bad.err, valid, faults.length], [1, '', false, 2]);
    const doubtful = await runAssay(['policy', 'check', 'doubtful.yaml', '-o', 'json'], { cwd });
    const { warnings } = JSON.parse(doubtful.out);
    assert.deepEqual([doubtful.code, warnings[0].field], [0, 'groups.0.boot.scope.initrd']);
  });

  it('check takes the name of a policy that comes with Assay', async () => {
    assert.equal((await runAssay(['policy', 'check', 'strict'], { cwd })).code, 0);
    assert.equal((await runAssay(['policy', 'check', 'absent.yaml'], { cwd })).code, 1);
  });

  it('check names references that count for one node alone, since nobody has seen what its loader read', async () => {
    const check = (file: string) =>
      runAssay(['policy', 'check', file, '--references', 'references', '-o', 'json'], { cwd });
    const { code, out } = await check('good.yaml');
    const { warnings } = JSON.parse(out);
    assert.deepEqual(
      [code, warnings.map(({ field }: { field: string }) => field)],
      [0, ['groups.0.boot.scope.loader']],
    );
    assert.deepEqual(JSON.parse((await check('by-node.yaml')).out).warnings, []);
  });

  it('check says it where what is in initrds counts, and no list has any file', async () => {
    write('contents.yaml', policyOf('boot: {scope: {initrd: contents}}'));
    mkdirSync(join(cwd, 'lists'));
    const fieldsOf = async (folder: string) => {
      const args = ['policy', 'check', 'contents.yaml', '--references', folder, '-o', 'json'];
      const { warnings } = JSON.parse((await runAssay(args, { cwd })).out);
      return warnings
        .map(({ field }: { field: string }) => field)
        .filter((field: string) => field.endsWith('initrd'));
    };
    const list = (change: Partial<Reference>) =>
      write('lists/packages.json', JSON.stringify(recordedPackages({ group: 'default', ...change })));
    const told = ['groups.0.boot.scope.initrd'];
    assert.deepEqual(await fieldsOf('references'), told);
    list({ state: 'retired' });
    assert.deepEqual(await fieldsOf('lists'), told);
    list({ group: 'other' });
    assert.deepEqual(await fieldsOf('lists'), told);
    list({});
    assert.deepEqual(await fieldsOf('lists'), []);
  });

  it('schema prints the JSON schema', async () => {
    const { code, out } = await runAssay(['policy', 'schema'], { cwd });
    assert.deepEqual([code, JSON.parse(out)], [0, JSON.parse(JSON.stringify(policyJsonSchema()))]);
  });

  it('suggest drafts a policy from bundles, which check passes without a word', async () => {
    const { code, out } = await runAssay(['policy', 'suggest', '--bundles', 'bundles'], { cwd });
    assert.equal(code, 0);
    assert.match(out, /nodes: \["one", "other"\]|nodes: \["one"\]/);
    write('draft.yaml', out);
    const checked = await runAssay(['policy', 'check', 'draft.yaml'], { cwd });
    assert.deepEqual([checked.code, checked.err], [0, '']);
  });

  describe('simulate with bundles', () => {
    const simulate = (policy: string, ...more: string[]) =>
      runAssay(['policy', 'simulate', policy, '--bundles', 'bundles', ...more], { cwd });

    it('says whom a policy would make untrusted, why, and what cannot be judged', async () => {
      const { code, out } = await simulate('good.yaml', '-o', 'json');
      const { nodes, changed, untrusted, items } = JSON.parse(out);
      assert.deepEqual([code, nodes, changed, untrusted], [10, 3, 2, 2]);
      const one = items.find(({ node }: { node: string }) => node === 'one');
      assert.deepEqual([one.before.state, one.after.state], ['pending', 'untrusted']);
      assert.ok(one.after.reasons.some(({ code }: { code: string }) => code === 'log_replay_mismatch'));
      const broken = items.find(({ node }: { node: string }) => node === 'broken');
      assert.deepEqual([broken.after, broken.changed], [null, false]);
    });

    it('shows those that change as a table', async () => {
      const { code, out } = await simulate('good.yaml');
      assert.equal(code, 10);
      assert.match(out, /^NODE +NOW +THEN +REASONS$/m);
      assert.match(out, /^one +pending +untrusted +.*log_replay_mismatch/m);
      assert.match(out, /^2 of 3 nodes would change; 2 would turn untrusted; 1 cannot be judged/m);
      assert.doesNotMatch(out, /^broken/m);
      assert.match((await simulate('good.yaml', '--all')).out, /^broken +- +- +.*malformed/m);
    });

    it('ends well where nobody turns untrusted', async () => {
      const { code, out } = await simulate('same.yaml', '-o', 'json');
      const one = JSON.parse(out).items.find(({ node }: { node: string }) => node === 'one');
      assert.deepEqual([code, one.changed], [0, false]);
    });

    it('refuses a faulty policy, and a folder without bundles', async () => {
      assert.equal((await simulate('bad.yaml')).code, 1);
      const { code } = await runAssay(['policy', 'simulate', 'strict', '--bundles', '.'], { cwd });
      assert.equal(code, 1);
      const unused = await runAssay(['policy', 'simulate', 'strict', '--references', '.'], { cwd });
      assert.equal(unused.code, 2);
    });
  });
});
