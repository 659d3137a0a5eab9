import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { Check } from '../../../../attest-server/wire/checks.ts';
import { type ApiServer, emptyWorld, now, startApi, type World } from '../../http/api-fixture.ts';
import { environmentOf, runAssay } from '../cli-fixture.ts';

describe('assay doctor', () => {
  let world: World;
  let server: ApiServer;
  let env: Record<string, string>;
  beforeEach(async () => {
    world = emptyWorld();
    server = await startApi(world);
    env = environmentOf(server, 'reader-token');
  });
  afterEach(() => server.close());

  async function look(args: readonly string[] = [], change = env, at: () => number = Date.now) {
    const { code, out } = await runAssay(['doctor', ...args, '-o', 'json'], { env: change, now: at });
    const { checks }: { checks: Check[] } = JSON.parse(out);
    for (const { name, result, next } of checks) assert.equal(next === null, result === 'ok', name);
    return { code, results: Object.fromEntries(checks.map(({ name, result }) => [name, result])), checks };
  }

  it('looks at the server from elsewhere, and calls nothing green that it did not see', async () => {
    const { code, results } = await look();
    const { installation, server: reached, versions, clock, token, readiness, cluster } = results;
    assert.deepEqual(
      { installation, reached, versions, clock, token, readiness, cluster },
      {
        installation: 'not looked at',
        reached: 'ok',
        versions: 'warning',
        clock: 'ok',
        token: 'ok',
        readiness: 'ok',
        cluster: 'not looked at',
      },
    );
    assert.equal(code, 0);
  });

  it('fails where the server cannot be reached or is not trusted, and says what to do', async () => {
    for (const change of [
      {},
      { ...env, ASSAY_SERVER: 'https://localhost:1' },
      { ...env, ASSAY_CA_FILE: '' },
      { ...env, ASSAY_TOKEN_FILE: join(server.dir, 'none') },
    ]) {
      const { code, results } = await look([], change);
      assert.deepEqual([code, results.server], [1, 'failed']);
    }
  });

  it('fails by a clock that is far off, and by a part that is faulty, with its own command', async () => {
    const far = await look([], env, () => Date.now() + 3_600_000);
    assert.deepEqual([far.code, far.results.clock], [1, 'failed']);
    world.faulty.push({ part: 'policy', at: now, text: '/p.yaml:3: a: no \u001b[2J', refused: null });
    const { code, results, checks } = await look();
    assert.deepEqual([code, results.policy], [1, 'failed']);
    assert.match(checks.find(({ name }) => name === 'policy')?.next ?? '', /^assay policy check /);
    const { out } = await runAssay(['doctor'], { env, now: Date.now });
    assert.equal(out.includes('\u001b'), false);
    assert.match(out, /\n {2}assay policy check [^\n]*\n/);
  });

  it('warns where a backup failed, fails where one is overdue, and is silent where none is to be made', async () => {
    assert.equal((await look()).results.backups, undefined);
    const shown = { directory: '/srv/copies', every: 86_400_000, keep: 7, count: 3, latestAt: now };
    for (const [isOverdue, fault, result] of [
      [false, null, 'ok'],
      [false, 'no room', 'warning'],
      [true, 'no room', 'failed'],
    ] as const) {
      world.backups = { ...shown, isOverdue, fault };
      assert.equal((await look()).results.backups, result);
    }
  });

  it("prints in the server's pod what is typed from outside of it", async () => {
    const stateDir = join(server.dir, 'installed');
    mkdirSync(stateDir, { mode: 0o755 });
    chmodSync(stateDir, 0o755);
    const config = join(server.dir, 'server.yaml');
    writeFileSync(config, `stateDir: ${stateDir}\nagentPort: 1\napiPort: 2\nmetricsPort: 3\n`);
    world.faulty.push({ part: 'policy', at: now, text: 'no', refused: null });
    const pod = { ...env, KUBERNETES_SERVICE_HOST: '10.0.0.1' };
    const { checks } = await look(['--config', config], pod);
    const nextOf = (name: string) => checks.find((check) => check.name === name)?.next ?? '';
    const inPod = `kubectl --namespace assay exec ${hostname()} -- `;
    assert.equal(nextOf('policy'), `${inPod}assay policy check /etc/assay/policy.yaml`);
    assert.equal(nextOf('agentPort'), `kubectl --namespace assay get pod ${hostname()} --output wide`);
    assert.equal(nextOf('state folder'), `kubectl --namespace assay delete pod ${hostname()}`);
    for (const { next } of checks)
      for (const line of next?.split('\n') ?? []) assert.match(line, /^kubectl /);
    // Elsewhere in the cluster it is no pod of the server.
    const elsewhere = await look([], pod);
    assert.equal(elsewhere.checks.find(({ name }) => name === 'policy')?.next?.startsWith('assay '), true);
  });

  it("finds on the server's machine what its own check finds, and ports where nobody listens", async () => {
    const stateDir = join(server.dir, 'installed');
    mkdirSync(stateDir, { mode: 0o700 });
    const config = join(server.dir, 'server.yaml');
    const ports = 'agentPort: 1\napiPort: 2\nmetricsPort: 3\n';
    writeFileSync(config, `stateDir: ${stateDir}\n${ports}`);
    const { code, results } = await look(['--config', config]);
    const { configuration, 'state folder': folder, agentPort } = results;
    assert.deepEqual([code, configuration, folder, agentPort], [1, 'ok', 'ok', 'failed']);
    chmodSync(stateDir, 0o755);
    assert.equal((await look(['--config', config])).results['state folder'], 'failed');
    for (const text of [
      `stateDir: ${stateDir}\npolicy: /none.yaml\n`,
      'nonsense: 1\n',
      '\u0000\ud800',
      '[[[[',
    ]) {
      writeFileSync(config, text);
      const wrong = await look(['--config', config]);
      assert.deepEqual([wrong.code, wrong.results.configuration], [1, 'failed'], text);
    }
    assert.equal(
      (await look(['--config', join(server.dir, 'missing.yaml')])).results.configuration,
      'failed',
    );
  });
});
