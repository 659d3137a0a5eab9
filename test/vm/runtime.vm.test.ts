import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { bootNode, type NodeInGuest } from './node-in-guest.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["worker-*"]
    require: [identity, runtime]
    disk: {paths: [/var/lib/docker], keySize: 1024}
`;
const unknown = '/usr/local/bin/unknown';
/** As it should be, but for the size of its key. */
const encrypted = [
  'printf key >/tmp/key',
  'cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 -q /dev/vdc /tmp/key',
  'cryptsetup open --key-file /tmp/key /dev/vdc docker',
  'mkfs.ext4 -q /dev/mapper/docker',
  'mount /dev/mapper/docker /var/lib/docker',
  'node /opt/assay/agent/main.js inspect disk',
].join(' && ');

const against = ({ reasons }: Verdict) =>
  reasons.filter(({ severity }) => severity === 'fail').map(({ code }) => code);

/** Each test goes on where the one before it ended. */
describe('a virtual machine whose kernel measures what runs, and critical data', function () {
  this.timeout(300_000);
  let node: NodeInGuest;
  before(async function () {
    this.timeout(0);
    node = await bootNode(policy, ' ima_policy=tcb|critical_data');
  });
  after(() => node?.[Symbol.asyncDispose]());

  const trusted = () => node.judged('trusted', ({ state }) => state === 'trusted');

  it('is trusted once somebody vouches for what it ran, its IMA policy by the measured command line', async () => {
    await node.enrol();
    const isWaiting = ({ state, reasons }: Verdict) =>
      state === 'pending' &&
      reasons.some(({ code, aspect }) => code === 'no_reference' && aspect === 'runtime');
    for (let round = 0; round < 3; round++) await node.judged('pending for a reference', isWaiting);
    // By now each of its programs has run once.
    await node.world.call('POST', '/v1/references', { node: node.name, name: 'ran', kind: 'runtime' });
    const { aspects } = await trusted();
    assert.deepEqual(aspects.runtime, { status: 'affirming', source: 'tpm', references: ['ran'] });
  });

  it('is untrusted once a program runs there that nobody vouches for, and says which (row 49)', async () => {
    await node.guest.shell(
      `mkdir -p /usr/local/bin && printf '#!/bin/sh\\necho unknown\\n' >${unknown} && chmod 755 ${unknown} && ${unknown}`,
    );
    const verdict = await node.judged('ima_unknown_file', (one) => against(one).includes('ima_unknown_file'));
    assert.equal(verdict.state, 'untrusted');
    const found = verdict.reasons.find(({ code }) => code === 'ima_unknown_file');
    assert.match(found?.text ?? '', /\/usr\/local\/bin\/unknown/);
    const bundle = JSON.stringify(await node.world.call('GET', `/v1/nodes/${node.name}/bundle`));
    const { state, reasons } = verifyBundle(bundle, { now: Date.now() }).verdict;
    assert.deepEqual([state, reasons.some(({ code }) => code === 'ima_unknown_file')], ['untrusted', true]);
  });

  it('is trusted again once this file is allowed', async () => {
    const reason = 'this program is ours';
    const asked = { node: node.name, name: 'one-file', kind: 'runtime', only: [unknown], reason };
    await node.world.call('POST', '/v1/references', asked);
    await trusted();
  });

  it('takes cipher and key of a mapping from its measured table, so that the TPM vouches for what is found', async () => {
    await node.guest.shell(encrypted);
    const { reasons } = await node.judged('luks_cipher', (one) =>
      one.reasons.some(({ code }) => code === 'luks_cipher'),
    );
    const found = reasons.find(({ code }) => code === 'luks_cipher');
    assert.deepEqual([found?.source, found?.actual], ['tpm', 'aes-xts-plain64, 512 bit']);
  });
});
