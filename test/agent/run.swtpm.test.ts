import assert from 'node:assert/strict';
import { createHmac, hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { start } from 'node-tpm2/run';
import type { WebSocket } from 'ws';
import { bootLogPath } from '../../agent/collectors/boot-log.ts';
import { answer } from '../../agent/evidence.ts';
import { lengthPrefixed } from '../../attest-server/protocol/binding.ts';
import {
  type Challenge,
  type EvidenceMessage,
  type Hello,
  parseAgentMessage,
  parseBinaryFrame,
} from '../../attest-server/protocol/messages.ts';
import { checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import { makeCredential } from '../../attest-server/verify/credential.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import { verify } from '../../attest-server/verify/verify.ts';
import { launchTpm, type SoftwareTpm } from '../../swtpm-fixtures/tpm.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { startTinyServer } from './tiny-server.ts';

const selection = { sha256: [0, 1, 2, 3, 4, 5, 6, 7] };
const bootId = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';
const log = Buffer.from('a log that nobody parses here');
const secret = 's'.repeat(43);

describe('an agent on a software TPM', () => {
  let tpm: SoftwareTpm;
  let authority: MadeAuthority;
  let folder = '';
  before(async () => {
    [tpm, authority] = await Promise.all([launchTpm(), makeAuthority()]);
    folder = await mkdtemp(join(tmpdir(), 'assay-agent-'));
    for (const [path, content] of [
      ['proc/sys/kernel/random/boot_id', `${bootId}\n`],
      ['proc/version', 'Linux version 6.12.1 (builder)\n'],
      ['etc/os-release', 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'],
      [bootLogPath, log],
    ] as const) {
      await mkdir(join(folder, path, '..'), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    await writeFile(join(folder, 'token'), `assay-join.v1.id1.${secret}.${authority.digest}\n`);
  });
  after(async () => {
    await tpm.stop();
    await authority[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('gives an answer that verifies, over this nonce and channel only', async () => {
    await using opened = await openTpm({ tcti: tpm.tcti });
    const key = await opened.createAttestationKey();
    const channel = randomBytes(32);
    const challenge = makeChallenge();
    const situation = {
      ...{ node: 'node-1', bootId, host: null, channel, helloDigest: '00'.repeat(32) },
      bootLog: { bytes: log, digest: hash('sha256', log, 'hex') },
    };
    const frames = await answer(challenge, situation, opened);
    const evidence = parseAgentMessage(String(frames.at(-1)));
    assert(evidence.type === 'evidence');
    const ak = key.publicArea.toString('base64');
    const proven = prove(evidence, { ak, helloDigest: situation.helloDigest, challenge, channel });
    assert.deepEqual(proven.facts?.bootId, bootId);
    const elsewhere = { ak, helloDigest: situation.helloDigest, challenge, channel: randomBytes(32) };
    assert.throws(() => prove(evidence, elsewhere), { code: 'channel_binding' });
  });

  it('joins by its token, activates, proves itself, and does not show the token again', async () => {
    const { key, cert } = await authority.issue();
    const seen: Conversation[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket, channel) =>
      seen.push(converse(socket, channel)),
    );
    const first = await runUntilVerdict(server.port);
    const second = await runUntilVerdict(server.port);
    assert.deepEqual([first.exit, second.exit], [0, 0]);
    const [joined, known] = await Promise.all(seen.map(({ done }) => done));
    assert.equal(joined?.token, `id1.${secret}`);
    assert.equal(joined?.proven.facts?.host?.os, 'Debian GNU/Linux 13 (trixie)');
    assert.deepEqual(joined?.log, log);
    assert.equal(known?.token, null);
    assert.deepEqual(known?.proven.akName, joined?.proven.akName);
    assert(!`${first.said}${second.said}`.includes(secret));
    assert.equal((await stat(join(folder, 'state', 'enrolled'))).mode & 0o777, 0o600);
  });

  it('says that the machine has no TPM, and what to do', async () => {
    const { key, cert } = await authority.issue();
    const hellos: string[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket) => {
      socket.once('message', (text) => {
        hellos.push(String(text));
        socket.send(JSON.stringify({ type: 'verdict', state: 'pending', codes: ['unsupported_tpm'] }));
      });
    });
    const { exit, said } = await runUntilVerdict(server.port, { ASSAY_TCTI: 'device:/dev/no-such-tpm' });
    assert.equal(exit, 0);
    const hello = parseAgentMessage(hellos[0] ?? '');
    assert(hello.type === 'hello' && hello.ek === null && hello.ak === null && hello.banks.length === 0);
    assert.match(said, /"code":"unsupported_tpm"/);
    assert.match(said, /\/dev\/no-such-tpm/);
  });

  /** Starts the program as an operator does, and stops it after its first verdict. */
  async function runUntilVerdict(port: number, more: Record<string, string> = {}) {
    const agent = start(process.execPath, [join(import.meta.dirname, '../../agent/main.ts'), 'run'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ASSAY_SERVERS: `127.0.0.1:${port}`,
        ASSAY_NODE: 'node-1',
        ASSAY_TCTI: tpm.tcti,
        ASSAY_STATE_DIR: join(folder, 'state'),
        ASSAY_JOIN_TOKEN_FILE: join(folder, 'token'),
        ASSAY_SYSROOT: folder,
        ASSAY_LOG_LEVEL: 'debug',
        ...more,
      },
    });
    let said = '';
    agent.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('"code":"verdict"')) agent.kill('SIGTERM');
    });
    const [exit] = await once(agent, 'close');
    return { exit, said };
  }
});

function makeChallenge(): Challenge {
  const nonce = randomBytes(32).toString('base64');
  return { type: 'challenge', nonce, selection, purpose: 'attest', holds: [], within: 30_000 };
}

interface Outcome {
  readonly token: string | null;
  readonly log: Buffer | null;
  readonly proven: Proven;
}

interface Conversation {
  readonly done: Promise<Outcome>;
}

/** The server's half: hello, token, activation, challenge, verdict. */
function converse(socket: WebSocket, channel: Buffer): Conversation {
  const challenge = makeChallenge();
  const wrapped = randomBytes(32);
  let hello: Hello | null = null;
  let helloDigest = '';
  let token: string | null = null;
  let bootLog: Buffer | null = null;
  const activate = ({ ek, ak }: Hello) => {
    assert(ek !== null && ak !== null);
    const credential = makeCredential(
      Buffer.from(ek.publicArea, 'base64'),
      Buffer.from(ak.name, 'hex'),
      wrapped,
      randomBytes,
    );
    const [id, seed] = [credential.credential.toString('base64'), credential.secret.toString('base64')];
    socket.send(JSON.stringify({ type: 'activate', credential: id, secret: seed }));
  };
  const done = new Promise<Outcome>((resolve, reject) => {
    const take = (data: Buffer, isBinary: boolean) => {
      if (isBinary) {
        const { kind, payload } = parseBinaryFrame(data);
        if (kind === 'bootLog') bootLog = Buffer.from(payload);
        else token = payload.toString();
        if (kind === 'joinToken' && hello !== null) activate(hello);
        return;
      }
      const message = parseAgentMessage(data.toString());
      if (message.type === 'hello') {
        hello = message;
        helloDigest = hash('sha256', data, 'hex');
        if (!message.joinToken) activate(message);
      } else if (message.type === 'activated') {
        const parts = [Buffer.from('assay/activated/1'), channel, Buffer.from(helloDigest, 'hex')];
        assert.equal(
          message.proof,
          createHmac('sha256', wrapped).update(lengthPrefixed(parts)).digest('hex'),
        );
        socket.send(JSON.stringify(challenge));
      } else if (message.type === 'evidence') {
        const ak = hello?.ak?.publicArea ?? '';
        const proven = prove(message, { ak, helloDigest, challenge, channel });
        socket.send(JSON.stringify({ type: 'verdict', state: 'trusted', codes: [] }));
        resolve({ token, log: bootLog, proven });
      }
    };
    socket.on('message', (data, isBinary) => {
      try {
        assert(Buffer.isBuffer(data));
        take(data, isBinary);
      } catch (error) {
        socket.terminate();
        reject(error);
      }
    });
  });
  return { done };
}

function prove(
  evidence: EvidenceMessage,
  session: {
    readonly ak: string;
    readonly helloDigest: string;
    readonly challenge: Challenge;
    readonly channel: Buffer;
  },
): Proven {
  return verify(
    {
      quotes: evidence.quotes.map(({ attest, signature, pcrs }) => ({
        attest: Buffer.from(attest, 'base64'),
        signature: Buffer.from(signature, 'base64'),
        pcrs: { sha256: Buffer.from(pcrs.sha256 ?? '', 'base64') },
      })),
      facts: evidence.facts,
      bootLog: {
        digest: evidence.bootLog ?? '',
        measure: () => ({
          digest: evidence.bootLog ?? '',
          log: { format: 'sha1', banks: {}, startupLocality: null, events: [], notes: [] },
          problems: [],
        }),
      },
    },
    {
      ak: checkAttestationKey(Buffer.from(session.ak, 'base64')),
      ekDigest: null,
      judgeHierarchy: true,
      binding: {
        nonce: Buffer.from(session.challenge.nonce, 'base64'),
        channel: session.channel,
        claimedChannel: Buffer.from(evidence.channel, 'base64'),
        session: { node: 'node-1', helloDigest: session.helloDigest, purpose: session.challenge.purpose },
      },
      selection,
    },
  );
}
