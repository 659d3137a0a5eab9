import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { bootLogPath } from '../../../agent/collectors/boot-log.ts';
import { examine } from '../../../agent/doctor/doctor.ts';
import { type Check, checksText, hasFailed } from '../../../attest-server/wire/checks.ts';
import { launchTpm, type SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';
import { startTestServer } from '../../attest-server/running-server.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';

describe('the doctor of an agent', () => {
  let tpm: SoftwareTpm;
  let folder = '';
  before(async () => {
    tpm = await launchTpm();
    folder = await mkdtemp(join(tmpdir(), 'assay-doctor-'));
    for (const [path, content] of [
      ['root/proc/sys/kernel/random/boot_id', '6f9619ff-8b86-d011-b42d-00cf4fc964ff\n'],
      [`root/${bootLogPath}`, recordedLog('debian13-shim-grub')],
    ] as const) {
      await mkdir(join(folder, path, '..'), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    await mkdir(join(folder, 'state'), { mode: 0o700 });
  });
  after(async () => {
    await tpm.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function look(change: Readonly<Record<string, string>>): Promise<readonly Check[]> {
    const environment = {
      ASSAY_AGENT_NODE: 'node-1',
      ASSAY_AGENT_TCTI: tpm.tcti,
      ASSAY_AGENT_SYSROOT: join(folder, 'root'),
      ASSAY_AGENT_STATE_DIR: join(folder, 'state'),
      ...change,
    };
    const checks = await examine(
      null,
      () => assert.fail('none is named'),
      environment,
      AbortSignal.timeout(30_000),
    );
    for (const { name, result, next } of checks) assert.equal(next === null, result === 'ok', name);
    return checks;
  }
  const resultOf = (checks: readonly Check[], name: string) =>
    checks.find((check) => check.name === name)?.result ?? null;

  it('finds TPM, firmware log and a server by its authority, and writes nothing', async () => {
    await using server = await startTestServer({ policy: 'observe' });
    const address = `localhost:${server.server.agentPort}`;
    const checks = await look({ ASSAY_AGENT_SERVERS: address, ASSAY_AGENT_CA_FILE: server.server.caFile });
    for (const name of [
      'configuration',
      'TPM',
      'TPM certificate',
      'firmware log',
      'state folder',
      `server ${address}`,
      `clock of ${address}`,
    ])
      assert.equal(resultOf(checks, name), 'ok', `${name}: ${checksText(checks)}`);
    // What it did not see is not green: no rules of a kernel are below this root, no IMA, no clock that is set.
    assert.deepEqual(
      ['firewall', 'IMA list', 'clock', 'agent'].map((name) => resultOf(checks, name)),
      ['failed', 'warning', 'not looked at', 'not looked at'],
    );
    assert.equal(hasFailed(checks), true);
    assert.deepEqual(await readdir(join(folder, 'state')), []);
  });

  it('names what fails, each with a command, and goes on', async () => {
    await using server = await startTestServer({ policy: 'observe' });
    await using stranger = await startTestServer({ policy: 'observe' });
    const [address, dead] = [`localhost:${server.server.agentPort}`, 'localhost:1'];
    const checks = await look({
      ASSAY_AGENT_SERVERS: `${address},${dead}`,
      ASSAY_AGENT_CA_FILE: stranger.server.caFile,
      ASSAY_AGENT_TPM_BROKER: join(folder, 'nobody.sock'),
      ASSAY_AGENT_NETFILTER: join(folder, 'nobody.sock'),
      ASSAY_AGENT_HEALTH_SOCKET: join(folder, 'nobody.sock'),
      ASSAY_AGENT_STATE_DIR: join(folder, 'none'),
    });
    for (const name of ['TPM', 'firewall', 'agent', `server ${address}`, `server ${dead}`])
      assert.equal(resultOf(checks, name), 'failed', name);
    assert.equal(resultOf(checks, 'state folder'), 'warning');
    assert.match(checksText(checks), /\n {2}systemctl status assay-tpm-broker\n/);
  });

  it('says in a pod what its operator types, and what is typed on the node, and nothing of a unit of systemd', async () => {
    const claims = { 'kubernetes.io': { namespace: 'agents', pod: { name: 'assay-agent-x7k2p' } } };
    const token = join(folder, 'token');
    await writeFile(token, `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`);
    const pod = {
      KUBERNETES_SERVICE_HOST: '10.0.0.1',
      ASSAY_AGENT_SERVERS: 'localhost:1',
      ASSAY_AGENT_CLUSTER_TOKEN_FILE: token,
      ASSAY_AGENT_CA_FILE: token,
      ASSAY_AGENT_TPM_BROKER: join(folder, 'nobody.sock'),
      ASSAY_AGENT_NETFILTER: join(folder, 'nobody.sock'),
      ASSAY_AGENT_HEALTH_SOCKET: join(folder, 'nobody.sock'),
    };
    const checks = await look(pod);
    const nextOf = (name: string, of = checks) => of.find((check) => check.name === name)?.next;
    const logs = (container: string) =>
      `kubectl --namespace agents logs assay-agent-x7k2p --container ${container} --tail 50`;
    assert.deepEqual(
      [nextOf('TPM'), nextOf('firewall'), nextOf('agent')],
      [logs('tpm-broker'), logs('netfilter'), logs('agent')],
    );
    for (const { next, text, name } of checks)
      assert.ok(next === null || next.startsWith('kubectl ') || text.endsWith('not in the pod:'), name);
    assert.deepEqual(
      ['clock', 'systemd log', 'inventory'].map((name) => resultOf(checks, name)),
      ['not looked at', 'not looked at', null],
    );
    // A helper of the host stays one; what no value enabled is named by it; nobody says which pod it is.
    const others = await look({
      ...pod,
      ASSAY_AGENT_CLUSTER_TOKEN_FILE: join(folder, 'none'),
      ASSAY_AGENT_TPM_BROKER: join(folder, 'root', 'nobody.sock'),
      ASSAY_AGENT_NETFILTER: '',
    });
    assert.equal(nextOf('TPM', others), 'systemctl status assay-tpm-broker');
    assert.match(nextOf('firewall', others) ?? '', /^helm upgrade .* agent\.netfilter\.enabled=true$/);
    assert.match(nextOf('agent', others) ?? '', /^kubectl get pods --all-namespaces --selector /);
  });

  it('looks at a machine whose configuration is wrong, and says so', async () => {
    const checks = await look({ ASSAY_AGENT_SERVERS: 'nonsense' });
    assert.deepEqual(
      ['configuration', 'TPM', 'server'].map((name) => resultOf(checks, name)),
      ['failed', 'ok', 'not looked at'],
    );
  });
});
