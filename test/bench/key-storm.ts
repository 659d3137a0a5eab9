import { createECDH, type ECDH } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { backOff } from '../../agent/back-off.ts';
import { openWrappingKeys } from '../../attest-server/custody/wrapping-keys.ts';
import { channelBindingBytes, channelBindingLabel } from '../../attest-server/wire/binding.ts';
import { decryptVolumeKey } from '../../attest-server/wire/key-derivation.ts';
import { type KeyRelease, parseKeyRelease } from '../../attest-server/wire/key-release.ts';
import { keyAgreementCurve, keyRequestOf } from '../../attest-server/wire/key-request.ts';
import { binaryFrame, parseServerMessage } from '../../attest-server/wire/messages.ts';
import { writeKeySettings } from '../agent/unlock/volume-for.ts';
import { type LeasedVolume, leaseVolume } from '../attest-server/keys/made-volumes.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import { inFolder, rounded } from './attestation.ts';
import { median, p99 } from './cpu-time.ts';
import type { Sizes } from './crowd.ts';
import { asShipped, type MeasuredServer, startMeasured } from './measured-server.ts';
import { type Machine, model, populate } from './population.ts';
import { open } from './simulated-agents.ts';
import { sized } from './sized.ts';

/** Nodes that boot within a minute, as after a power cut, and ask one server for the keys of their disks. */
export interface KeyStormFigures {
  /** Each of them got the key of its own volume: its release is opened as its TPM would. Otherwise the bench fails. */
  readonly nodes: number;
  readonly within_s: number;
  /** From a node's first dial to its key, the TPM's time aside. */
  readonly median_ms: number;
  readonly p99_ms: number;
  readonly longest_ms: number;
  /** Connections that ended without a key, after which a node dials again as `assay-agent unlock` does. */
  readonly dialled_again: number;
  /** CPU time of the server for each: TLS, proof, verdict, release, and all that is written. */
  readonly server_cpu_ms: number;
  /** The same of this process, which is all nodes: what both take must fit into the time. */
  readonly nodes_cpu_ms: number;
  readonly lag_p99_ms: number;
  readonly rss_mib: number;
}

/** What a node has when it boots. */
type LeasedMachine = Machine & LeasedVolume;

interface Release {
  readonly machine: LeasedMachine;
  readonly tookMs: number;
  readonly own: ECDH;
  readonly nonce: Buffer;
  readonly keyRequest: Buffer;
  readonly release: KeyRelease;
}

/** The default `timeout` of `assay-agent unlock`. */
const unlockGivesUpAfterMs = 300_000;
/** Of this boot, as quoted. */
const resetCount = 7;

export async function benchKeyStorm(full: boolean, sizes: Sizes = {}): Promise<KeyStormFigures> {
  const { agents: nodes = full ? 5_000 : sized(1_000, 50), seconds = full ? 60 : sized(12, 1) } = sizes;
  return await inFolder(async (folder) => {
    const stateDir = join(folder, 'state');
    const settings = await writeKeySettings(folder);
    const populated = await populate(stateDir, nodes, 'p256');
    const machines = await leaseVolumes(stateDir, settings.wrappingKeyFile, populated);
    const order = { kind: 'assay', stateDir, challengeEveryMs: 60_000, ...settings } as const;
    await using server = await startMeasured(order, asShipped);
    await server.sample();
    const before = process.cpuUsage();
    let dialledAgain = 0;
    const releases = await Promise.all(
      machines.map(async (machine, index) => {
        await sleep(Math.random() * seconds * 1000);
        const started = performance.now();
        for (let failures = 0; ; failures++)
          try {
            const got = await ask(server, machine, index);
            return { ...got, machine, tookMs: performance.now() - started };
          } catch (error) {
            if (performance.now() - started > unlockGivesUpAfterMs) throw error;
            dialledAgain += 1;
            await sleep(backOff(failures, Math.random));
          }
      }),
    );
    const { cpuMs, lagP99Ms, rssKib } = await server.sample();
    const { user, system } = process.cpuUsage(before);
    for (const each of releases)
      if (!opened(each).equals(each.machine.key)) throw new Error(`${each.machine.name} got another key`);
    const took = releases.map(({ tookMs }) => tookMs);
    return {
      nodes,
      within_s: seconds,
      median_ms: Math.round(median(took)),
      p99_ms: Math.round(p99(took)),
      longest_ms: Math.round(Math.max(...took)),
      dialled_again: dialledAgain,
      server_cpu_ms: rounded(cpuMs / nodes),
      nodes_cpu_ms: rounded((user + system) / 1000 / nodes),
      lag_p99_ms: rounded(lagP99Ms),
      rss_mib: Math.round(rssKib / 1024),
    };
  });
}

/** A formatted volume for each. */
async function leaseVolumes(
  stateDir: string,
  wrappingKeyFile: string,
  machines: readonly Machine[],
): Promise<readonly LeasedMachine[]> {
  const wrapping = openWrappingKeys({ file: wrappingKeyFile, beside: [] });
  if (wrapping === null) throw new Error('no wrapping key');
  await using store = await openMadeStore(join(stateDir, 'assay.db'));
  const leased = [];
  for (const machine of machines) {
    const { name: node, tpm } = machine;
    leased.push({ ...machine, ...(await leaseVolume(store, wrapping, { node, ekDigest: tpm.ekDigest })) });
  }
  return leased;
}

/** One connection of `assay-agent unlock`, without a TPM's latency. @throws Error if it ends without a key */
async function ask(
  server: MeasuredServer,
  { name, tpm, uuid }: LeasedMachine,
  index: number,
): Promise<Omit<Release, 'machine' | 'tookMs'>> {
  const { socket, tls } = await open(server, index);
  const channel = tls.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
  const hello = JSON.stringify({ ...tpm.hello(name), role: 'unlock' });
  const own = createECDH(keyAgreementCurve);
  const keyRequest = keyRequestOf({ volume: uuid, ephemeral: own.generateKeys() });
  const occasion = { node: name, hello, channel, bootLog: model.log, keyRequest };
  const pcrs = { sha256: model.sha256 };
  const quote = (signed: Buffer) => madeQuote(tpm.ak, signed, { pcrs, resetCount });
  try {
    return await new Promise((resolve, reject) => {
      let nonce = Buffer.alloc(0);
      socket.once('close', (code) => reject(new Error(`${name} was closed with ${code}`)));
      socket.on('message', (data: Buffer, isBinary) => {
        if (isBinary) {
          resolve({ own, nonce, keyRequest, release: parseKeyRelease(data.subarray(1)) });
          return;
        }
        const message = parseServerMessage(data.toString('utf8'));
        if (message.type === 'challenge') {
          nonce = Buffer.from(message.nonce, 'base64');
          if (message.holds.length === 0) socket.send(binaryFrame('part', model.log));
          socket.send(JSON.stringify(tpm.evidence(message, occasion, { quote })));
        } else if (message.type !== 'verdict' || message.keyRefusal !== undefined)
          reject(new Error(`${name} gets no key: ${JSON.stringify(message)}`));
      });
      socket.send(hello);
    });
  } finally {
    socket.terminate();
  }
}

/** The key in a release, as its node decrypts it. */
function opened({ machine: { name: node, tpm }, own, nonce, keyRequest, release }: Release): Buffer {
  const { leaseId, volume, serverEphemeral: peer, ciphertext } = release;
  return decryptVolumeKey(
    { sealed: tpm.unsealed(release), own, peer, nonce },
    { ekDigest: tpm.ekDigest, node, volume, leaseId, resetCount, keyRequest },
    ciphertext,
  );
}
