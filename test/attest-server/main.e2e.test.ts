import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { WebSocket } from 'ws';
import { auditPage } from '../../attest-server/api/audit-pages.ts';
import { attestPath, subprotocol } from '../../attest-server/wire/messages.ts';
import { programs } from '../programs.ts';
import { forgedTpm } from './forged-tpm.ts';
import { identityIn } from './tls/made-identity.ts';

const program = programs['assay-server'];
const good = [
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
  '  - name: all\n    nodes: ["*"]\n    mode: observe\n    require: [identity]\n    enrolment: [pin]\n',
].join('\n');

describe('the server as a process', () => {
  let dir = '';
  let child: ReturnType<typeof start>;
  let said = '';
  let ports = { agents: 0, api: 0, metrics: 0 };
  let warned: readonly Readonly<Record<string, unknown>>[] = [];
  const lines = () =>
    said
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  const saidLine = async (matches: (line: Readonly<Record<string, unknown>>) => boolean) => {
    for (const end = performance.now() + 10_000; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
      const line = lines().findLast(matches);
      if (line !== undefined) return line;
      assert(performance.now() < end, said);
    }
  };
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-main-'));
    await writeFile(join(dir, 'policy.yaml'), good);
    const config = {
      stateDir: dir,
      host: '127.0.0.1',
      agentPort: 0,
      apiPort: 0,
      metricsPort: 0,
      logLevel: 'debug',
      // Of 0.3.0.
      helloWithinSeconds: 5,
    };
    await writeFile(
      join(dir, 'config.yaml'),
      JSON.stringify({ ...config, policy: join(dir, 'policy.yaml') }),
    );
    child = start(process.execPath, [program, '--config', join(dir, 'config.yaml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const { agents, api, metrics } = await saidLine(({ msg }) => msg === 'the server listens');
    ports = { agents: Number(agents), api: Number(api), metrics: Number(metrics) };
    warned = lines().filter(({ level }) => level === 'warn');
  });
  after(async () => {
    child?.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  });

  async function reload(): Promise<void> {
    said = '';
    child.kill('SIGHUP');
    await saidLine(({ msg }) => String(msg).includes('everything was read again'));
  }

  it('starts with a setting of the version before that says nothing any more, and warns of it', () => {
    assert.deepEqual(
      warned.map(({ code, key, file }) => [code, key, file]),
      [['ignored_setting', 'helloWithinSeconds', join(dir, 'config.yaml')]],
    );
  });

  it('keeps its policy where the new file is faulty, and says file, line and field (row 70)', async () => {
    const before = await ask('/v1/policy');
    await writeFile(join(dir, 'policy.yaml'), `${good}    enforse: true\n`);
    said = '';
    child.kill('SIGHUP');
    const { file, line, field } = await saidLine(
      ({ part, field }) => part === 'policy' && field !== undefined,
    );
    assert.deepEqual([file, line, field], [join(dir, 'policy.yaml'), 9, 'groups.0.enforse']);
    await saidLine(({ msg }) => String(msg).startsWith('some parts were not'));
    assert.deepEqual(await ask('/v1/policy'), before);
    await writeFile(join(dir, 'policy.yaml'), '{');
    said = '';
    child.kill('SIGHUP');
    await saidLine(({ part, line }) => part === 'policy' && line === 1);
    assert.deepEqual(await ask('/v1/policy'), before);
    const metrics = await (await fetch(`http://127.0.0.1:${ports.metrics}/metrics`)).text();
    assert.match(metrics, /^assay_reload_failures_total\{part="policy"\} 2$/m);
    const { items } = auditPage.parse(JSON.parse((await ask('/v1/audit')).text));
    const told = items.filter(({ action, subject }) => action === 'reload.refuse' && subject === 'policy');
    assert.equal(told.length, 2);
    assert.match(String(told[0]?.detail.text), /policy\.yaml:9: groups\.0\.enforse/);
    await writeFile(join(dir, 'policy.yaml'), `${good}# changed\n`);
    await reload();
    assert.notDeepEqual(await ask('/v1/policy'), before);
  });

  it('shows a new certificate on both ports, and keeps the old one where the key is not its own', async () => {
    const before = [await serialOf(ports.agents), await serialOf(ports.api)];
    assert.equal(before[0], before[1]);
    await rm(join(dir, 'tls/server.crt'));
    await identityIn(dir, ['localhost', '127.0.0.1'], Date.now());
    await reload();
    const next = await serialOf(ports.agents);
    assert.notEqual(next, before[0]);
    assert.equal(await serialOf(ports.api), next);
    await copyFile(join(dir, 'tls/ca.key'), join(dir, 'tls/server.key'));
    said = '';
    child.kill('SIGHUP');
    await saidLine(({ part, err }) => part === 'certificate' && err !== undefined);
    assert.deepEqual([await serialOf(ports.agents), await serialOf(ports.api)], [next, next]);
  });

  it('takes the new bootstrap token and no longer the old one', async () => {
    const old = (await readFile(join(dir, 'admin.token'), 'utf8')).trim();
    const next = 'n'.repeat(43);
    await writeFile(join(dir, 'admin.token'), next);
    await chmod(join(dir, 'admin.token'), 0o600);
    said = '';
    child.kill('SIGHUP');
    await saidLine(({ part, msg }) => part === 'tokens' && String(msg).includes('again'));
    assert.equal((await ask('/v1/policy', old)).status, 401);
    assert.equal((await ask('/v1/policy', next)).status, 200);
  });

  it('writes one line of JSON for each refusal, whatever a hello holds (row 72)', async () => {
    const ca = await readFile(join(dir, 'tls/ca.crt'), 'utf8');
    said = '';
    const hostile = [
      '\u001b[31mred\u0007',
      'a\nb',
      '"quoted"',
      '<script>alert(1)</script>',
      'a\u2028b\u202e',
    ];
    for (const name of hostile)
      for (const [hello, code] of [
        [{ ...forgedTpm().hello('x'), node: name }, 'malformed'],
        // A member of a later version is left aside.
        [{ ...forgedTpm().hello('x'), [name]: 1 }, 'enrolment_pending'],
        [{ ...forgedTpm().hello('x'), versions: { protocol: [1, 1], program: name } }, 'malformed'],
      ] as const) {
        const socket = new WebSocket(`wss://127.0.0.1:${ports.agents}${attestPath}`, subprotocol, { ca });
        await once(socket, 'open');
        const answer = once(socket, 'message');
        socket.send(JSON.stringify(hello));
        assert.equal(String((await answer)[0]), `{"type":"error","code":"${code}"}`);
        socket.terminate();
      }
    await saidLine(({ code }) => code === 'malformed');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
    assert.doesNotMatch(said.replaceAll('\n', ''), /[\u0000-\u001f\u007f-\u009f]/);
    assert(lines().every(({ msg }) => typeof msg === 'string'));
  });

  it('ends at once on SIGTERM, with the goodbye of a server that goes away', async () => {
    const ca = await readFile(join(dir, 'tls/ca.crt'), 'utf8');
    const socket = new WebSocket(`wss://127.0.0.1:${ports.agents}${attestPath}`, subprotocol, { ca });
    await once(socket, 'open');
    const closed = once(socket, 'close');
    const exited = once(child, 'exit');
    const started = performance.now();
    child.kill('SIGTERM');
    assert.equal((await closed)[0], 1001);
    assert.deepEqual(await exited, [0, null]);
    assert(performance.now() - started < 3_000);
  });

  async function ask(path: string, token?: string): Promise<{ status: number; text: string }> {
    const bearer = token ?? (await readFile(join(dir, 'admin.token'), 'utf8')).trim();
    const ca = await readFile(join(dir, 'tls/ca.crt'), 'utf8');
    const headers = { authorization: `Bearer ${bearer}` };
    const call = request({ host: '127.0.0.1', port: ports.api, ca, path, headers, agent: false });
    call.end();
    const [answer] = await once(call, 'response');
    let text = '';
    for await (const part of answer) text += String(part);
    return { status: answer.statusCode, text };
  }
});

async function serialOf(port: number): Promise<string | undefined> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const serial = socket.getPeerX509Certificate()?.serialNumber;
  socket.destroy();
  return serial;
}
