import { hash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { channelBindingBytes, channelBindingLabel } from '../../attest-server/wire/binding.ts';
import {
  attestPath,
  binaryFrame,
  type Challenge,
  parseServerMessage,
  subprotocol,
} from '../../attest-server/wire/messages.ts';
import { type ForgedTpm, forgedTpm, testAuthority } from '../attest-server/forged-tpm.ts';
import { madeEkCertificate } from '../attest-server/verify/made-certificate.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import type { Booted, Machine } from './machines.ts';

/** Where an agent finds its server. */
export interface Reached {
  readonly port: number;
  /** PEM */
  readonly ca: string;
}

/** IFX, INTC: as the makers of TPMs are registered. */
const makers = {
  discrete: { manufacturer: 'id:49465800', model: 'made up' },
  firmware: { manufacturer: 'id:494E5443', model: 'made up' },
} as const;

/** The agent of one machine: it answers each challenge with a real signature of its TPM, as long as it is connected. */
export class FleetAgent {
  readonly machine: Machine;
  readonly tpm: ForgedTpm;
  /** States and codes that it was told, the latest last. */
  readonly told: string[] = [];
  #booted: Booted;
  readonly #from: string;
  readonly #token: () => Promise<string>;
  /** DER */
  readonly #certificate: Buffer | null;
  #socket: WebSocket | null = null;
  #resetCount = 7;
  #startedAt = performance.now();
  #clockAtStart = 5_000_000_000;

  constructor(machine: Machine, from: string, token: () => Promise<string>) {
    this.machine = machine;
    this.#booted = machine;
    this.#from = from;
    this.#token = token;
    this.tpm = forgedTpm();
    const { tpm } = machine;
    this.#certificate =
      tpm === 'discrete' || tpm === 'firmware'
        ? madeEkCertificate(testAuthority, this.tpm.ek.publicKey, makers[tpm])
        : null;
  }

  /** Connects, and resolves at the first verdict, or refusal. */
  async connect({ port, ca }: Reached): Promise<void> {
    const token = binaryFrame('clusterToken', Buffer.from(await this.#token()));
    const socket = new WebSocket(`wss://127.0.0.1:${port}${attestPath}`, [subprotocol], {
      ca,
      perMessageDeflate: false,
      localAddress: this.#from,
    });
    const upgraded = once(socket, 'upgrade');
    await Promise.all([once(socket, 'open'), upgraded]);
    const [{ socket: tls }]: [IncomingMessage] = (await upgraded) as [IncomingMessage];
    if (!(tls instanceof TLSSocket)) throw new Error('the connection is not TLS');
    const channel = tls.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
    const hello = JSON.stringify(this.#hello());
    socket.on('error', () => socket.terminate());
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.on('message', (data: Buffer) => {
        const said: unknown = JSON.parse(data.toString('utf8'));
        const message = parseServerMessage(data.toString('utf8'));
        if (message.type === 'activate')
          socket.send(JSON.stringify(this.tpm.activated(Object(said), channel, hello)));
        if (message.type === 'challenge') this.#answer(socket, message, hello, channel);
        if (message.type !== 'verdict' && message.type !== 'error') return;
        this.told.push(
          message.type === 'verdict' ? [message.state, ...message.codes].join(' ') : message.code,
        );
        resolve();
      });
      socket.once('close', () => reject(new Error(`${this.machine.name}: the connection ended`)));
      socket.send(hello);
      socket.send(token);
    });
  }

  disconnect(): void {
    this.#socket?.terminate();
    this.#socket = null;
  }

  /** Power is lost, and comes back. @param booted what it boots then; default: the same again */
  powerCycle(booted: Booted = this.#booted): void {
    this.disconnect();
    this.#booted = booted;
    this.#resetCount += 1;
    this.#clockAtStart = this.machine.losesClock ? 1_000 : this.#clock() - 60_000;
    this.#startedAt = performance.now();
  }

  #clock(): number {
    return this.#clockAtStart + Math.round(performance.now() - this.#startedAt);
  }

  #hello(): object {
    const { name, tpm } = this.machine;
    const hello = {
      ...this.tpm.hello(name),
      clusterToken: true,
      speaks: ['parts', 'codes', 'files'],
    };
    if (tpm === 'none') return { ...hello, ek: null, ak: null, banks: [] };
    const certificate = this.#certificate?.toString('base64') ?? null;
    return hello.ek === null ? hello : { ...hello, ek: { ...hello.ek, certificate } };
  }

  #answer(socket: WebSocket, challenge: Challenge, hello: string, channel: Buffer): void {
    const { name, systemUuid } = this.machine;
    const { log, files, pcrs } = this.#booted;
    if (log !== null && !challenge.holds.includes(hash('sha256', log, 'hex')))
      socket.send(binaryFrame('part', log));
    for (const file of files)
      if (challenge.files?.includes(hash('sha256', file, 'hex'))) socket.send(binaryFrame('file', file));
    const bootId = `6f9619ff-8b86-d011-b42d-${String(this.#resetCount).padStart(12, '0')}`;
    const host = { kernel: '6.12.0', os: 'linux', arch: 'x64', systemUuid };
    const occasion = { node: name, hello, channel, bootId, host, ...(log !== null && { bootLog: log }) };
    const quote = (signed: Buffer) =>
      madeQuote(this.tpm.ak, signed, {
        pcrs: { sha256: pcrs },
        resetCount: this.#resetCount,
        clock: BigInt(this.#clock()),
        safe: this.#clockAtStart !== 1_000,
      });
    socket.send(JSON.stringify(this.tpm.evidenceOfParts(challenge, occasion, {}, quote)));
  }
}
