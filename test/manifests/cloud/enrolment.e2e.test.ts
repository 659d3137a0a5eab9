import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { sharedAuthority } from '../../../swtpm-fixtures/authority.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { introduce } from '../../attest-server/attacker.ts';
import { type ForgedTpm, forgedTpm } from '../../attest-server/forged-tpm.ts';
import { installAccounts, startAgentPod } from '../../attest-server/kubernetes/agent-pod.ts';
import { agentsOf, startAgent } from '../../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { openVendorApi, recorded, type VendorApi } from './vendor-api.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: scaled, nodes: ["scaled-*"], enrolment: [vendor] }
  - { name: others, nodes: ["*"], enrolment: [cloud] }
`;
const main = programs['assay-cloud-aws'];

/** The server asks the real program for real Nodes; the cloud alone stands on the loopback. */
describe('enrolment in a cluster of a cloud', () => {
  let api: ApiServer;
  let ec2: VendorApi;
  let world: TestServer;
  let folder: string;
  let machine: FixtureMachine;
  let scaled: FixtureMachine;
  const areas = new Map<string, Buffer>();

  before(async () => {
    [api, ec2, machine, scaled, folder] = await Promise.all([
      openApiServer(),
      openVendorApi(),
      startMachine({ log: recordedLog('debian13-shim-grub') }),
      startMachine({ log: recordedLog('debian13-shim-grub') }),
      mkdtemp(join(tmpdir(), 'assay-cloud-')),
    ]);
    await installAccounts(api);
    await writeFile(join(folder, 'policy.yaml'), policy);
    ec2.answers(({ body, headers }) => {
      const instance = new URLSearchParams(body).get('InstanceId') ?? '';
      const area = areas.get(instance);
      if (!headers.authorization?.includes('Credential=AKIDEXAMPLE/'))
        return { status: 401, body: recorded('aws-error.xml', { ERROR_CODE: 'AuthFailure' }) };
      if (area === undefined)
        return { status: 400, body: recorded('aws-error.xml', { ERROR_CODE: 'InvalidInstanceID.NotFound' }) };
      return {
        body: recorded('aws-ek-pub.xml', {
          'i-01234567890abcdef': instance,
          EK_AREA: area.toString('base64'),
        }),
      };
    });
    const cloudProgram = join(folder, 'ek-of');
    const closed = 'http://127.0.0.1:9/';
    await writeFile(
      cloudProgram,
      `#!/bin/sh\nexec ${process.execPath} ${main} --ec2 ${ec2.url} --metadata ${closed} "$@"\n`,
      { mode: 0o700 },
    );
    world = await startTestServer({
      policy: join(folder, 'policy.yaml'),
      kubeconfig: await api.kubeconfig(serviceAccount('assay', 'assay-server')),
      cloudProgram,
      cloudEnvironment: { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' },
      endorsementRoots: [(await sharedAuthority()).rootsDir],
    });
    await world.until(() => api.watches === 1);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await ec2?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await scaled?.dispose();
    if (folder !== undefined) await rm(folder, { recursive: true });
  });

  /** A Node whose machine has this endorsement key, and the file with the token of its agent. */
  async function node(name: string, instance: string | null, area: Buffer | null): Promise<string> {
    if (instance !== null && area !== null) areas.set(instance, area);
    await api.createNode(name, instance === null ? {} : { providerID: `aws:///eu-central-1a/${instance}` });
    const file = join(folder, `${name}.token`);
    const token = await startAgentPod(api, name);
    tokens.set(name, token);
    await writeFile(file, token);
    return file;
  }
  const tokens = new Map<string, string>();
  const areaOf = async ({ tpm }: FixtureMachine) => {
    await using opened = await openTpm({ tcti: tpm.tcti });
    return (await opened.readEndorsementKey()).publicArea;
  };
  const come = (name: string, tpm: ForgedTpm) =>
    introduce(world, tpm, name, {
      clusterToken: binaryFrame('clusterToken', Buffer.from(tokens.get(name) ?? '')),
    });
  const refusal = async (name: string, tpm: ForgedTpm) => (await come(name, tpm)).refusal();
  const shown = async (name: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${name}`));

  it('takes the TPM that the cloud names, and no other under its name', async () => {
    const area = await areaOf(machine);
    const clusterTokenFile = await node('node-1', 'i-00000001', area);
    assert.equal(await refusal('node-1', forgedTpm()), 'enrolment_pending');
    await using _agent = await startAgent(machine, 'node-1', { ...agentsOf(world), clusterTokenFile });
    await world.until(() => world.verdicts.some((entry) => entry.node === 'node-1'), 30_000);
    assert.equal((await shown('node-1')).bound, 'cloud');
    assert.equal((await world.store.enrolment.node('node-1'))?.ekDigest, hash('sha256', area, 'hex'));
    assert.equal(await refusal('node-1', forgedTpm()), 'enrolment_pending');
  });

  it('lets a new machine under a reused name supersede the old one', async () => {
    const next = forgedTpm();
    // As whoever ends the machine: nobody is there whom the pod could wait for.
    for (const path of ['/api/v1/namespaces/assay/pods/assay-agent-node-1', '/api/v1/nodes/node-1']) {
      const { code } = await api.as(administrator).request('DELETE', path, { gracePeriodSeconds: 0 });
      assert.ok(code < 300);
    }
    await node('node-1', 'i-00000002', next.ek.publicArea);
    const peer = await world.until(async () => {
      const arrived = await come('node-1', next);
      return (await arrived.peek())?.type === 'error' ? null : arrived;
    }, 10_000);
    const { hello, channel } = peer;
    peer.send(next.evidence(await peer.challenge(), { node: 'node-1', hello, channel }));
    assert.equal((await peer.verdict()).state, 'trusted');
    await peer.close();
    assert.equal((await world.store.enrolment.node('node-1'))?.ekDigest, next.ekDigest);
    const actions = (await world.audit())
      .filter(({ subject, action }) => subject === 'node-1' && action.startsWith('enrol'))
      .map(({ action }) => action);
    assert.deepEqual(actions, ['enrol', 'enrol.revoke', 'enrol']);
  });

  it('enrols nobody under a name whose machine the cloud does not know', async () => {
    await node('node-2', 'i-00000009', null);
    assert.equal(await refusal('node-2', forgedTpm()), 'enrolment_pending');
  });

  it('enrols a genuine TPM by the token of its node as vendor, without asking the cloud', async () => {
    const before = ec2.calls.length;
    const clusterTokenFile = await node('scaled-1', null, null);
    await using _agent = await startAgent(scaled, 'scaled-1', { ...agentsOf(world), clusterTokenFile });
    await world.until(() => world.verdicts.some((entry) => entry.node === 'scaled-1'), 30_000);
    assert.equal((await shown('scaled-1')).bound, 'vendor');
    assert.equal(ec2.calls.length, before);
  });
});
