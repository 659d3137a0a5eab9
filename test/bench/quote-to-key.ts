import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openTpm } from 'node-tpm2';
import { pino } from 'pino';
import { readIdentity } from '../../agent/identity.ts';
import { noState } from '../../agent/state-dir.ts';
import { LeaseConversation } from '../../agent/unlock/lease-conversation.ts';
import { startMachine } from '../../swtpm-fixtures/machine.ts';
import { volumeFor, writeKeySettings } from '../agent/unlock/volume-for.ts';
import { ask } from '../attest-server/running-server.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { inFolder } from './attestation.ts';
import { median, p99 } from './cpu-time.ts';
import { startMeasured } from './measured-server.ts';
import { sized } from './sized.ts';

/** Milliseconds: half of all releases are as quick, and 99 of 100. */
interface Spread {
  readonly median: number;
  readonly p99: number;
}

/** One node that gets the key of its disk, on a software TPM, from a server in a process of its own. */
export interface QuoteToKeyFigures {
  /** TPM2_Quote, with the start of its tool. */
  readonly quote_ms: Spread;
  /** From the quote to the release: the way there and back, proof, verdict, and the count on its disk. */
  readonly server_ms: Spread;
  /** Import, load and unseal, with the tools that do it; then the key is decrypted. */
  readonly unseal_ms: Spread;
  /** All three. */
  readonly quote_to_key_ms: Spread;
  /** What comes before: dial, TLS, hello, challenge, and reading the node. */
  readonly dial_to_quote_ms: Spread;
  readonly releases: number;
}

const boots = sized(20, 1);
/** A boot gets five. */
const ofBoot = sized(5, 2);
const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');

export async function benchQuoteToKey(): Promise<QuoteToKeyFigures> {
  return await inFolder(async (folder) => {
    const stateDir = join(folder, 'state');
    const settings = await writeKeySettings(folder);
    await using server = await startMeasured({
      kind: 'assay',
      stateDir,
      challengeEveryMs: 60_000,
      ...settings,
    });
    await using machine = await startMachine({ log });
    const caFile = join(stateDir, 'tls/ca.crt');
    const token = (await readFile(join(stateDir, 'admin.token'), 'utf8')).trim();
    const agents = { port: server.port, caFile };
    const volume = await volumeFor(machine, node, agents, async (method, path, body) => {
      const { status, text } = await ask({ port: server.apiPort, ca: server.ca, token, method, path, body });
      if (status >= 300) throw new Error(text);
      return JSON.parse(text);
    });
    const config = { node, caFile, sysroot: machine.sysroot };
    const releases: Release[] = [];
    for (let boot = 0; boot < boots; boot++) {
      await machine.powerCycle(log);
      for (let each = 0; each < ofBoot; each++)
        releases.push(await release({ tcti: machine.tpm.tcti, port: server.port, config, volume }));
    }
    const spread = (from: keyof Release, to: keyof Release) => {
      const took = releases.map((times) => times[to] - times[from]);
      return { median: Math.round(median(took)), p99: Math.round(p99(took)) };
    };
    return {
      quote_ms: spread('challenged', 'quoted'),
      server_ms: spread('quoted', 'released'),
      unseal_ms: spread('released', 'opened'),
      quote_to_key_ms: spread('challenged', 'opened'),
      dial_to_quote_ms: spread('dialled', 'challenged'),
      releases: releases.length,
    };
  });
}

/** When what was done, in monotonic milliseconds. */
interface Release {
  readonly dialled: number;
  readonly challenged: number;
  readonly quoted: number;
  readonly released: number;
  readonly opened: number;
}

/** One turn of `assay-agent unlock`. */
async function release({
  tcti,
  port,
  config,
  volume,
}: {
  readonly tcti: string;
  readonly port: number;
  readonly config: { readonly node: string; readonly caFile: string; readonly sysroot: string };
  readonly volume: string;
}): Promise<Release> {
  const { signal } = new AbortController();
  await using tpm = await openTpm({ tcti, signal });
  const identity = await readIdentity(tpm);
  const times = { challenged: 0, quoted: 0, released: 0 };
  const [quote, unseal] = [tpm.quote.bind(tpm), tpm.unsealDuplicate.bind(tpm)];
  tpm.quote = async (request) => {
    times.challenged = performance.now();
    const quoted = await quote(request);
    times.quoted = performance.now();
    return quoted;
  };
  tpm.unsealDuplicate = (object, policy) => {
    times.released = performance.now();
    return unseal(object, policy);
  };
  const dialled = performance.now();
  const logger = pino({ level: 'silent' });
  await using conversation = await LeaseConversation.open(
    { host: '127.0.0.1', port },
    { config, volume, tpm, identity, state: noState, logger, signal },
  );
  const answer = await conversation.answer;
  if (answer.is !== 'key') throw new Error(`no key: ${answer.code}`);
  answer.secret.fill(0);
  return { dialled, ...times, opened: performance.now() };
}
