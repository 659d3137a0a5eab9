import { bankBytes, type PcrBank, pcrBanks } from '../attest-server/wire/messages.ts';
import { openWire, type Wire } from './wire.ts';

const noSessions = 0x8001;
const withSessions = 0x8002;
const commandCode = {
  startup: 0x144,
  shutdown: 0x145,
  pcrRead: 0x17e,
  pcrExtend: 0x182,
  readClock: 0x181,
} as const;

/** TPM_ALG_ID of each PCR bank. TPM 2.0 Part 2 r1.59, section 6.3. */
const bankAlgorithms: Readonly<Record<PcrBank, number>> = {
  sha1: 0x0004,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
};

/** The few commands that a fixture sends itself, in one connection: a process for each would take 10 ms. */
export interface TpmCommands {
  /** TPM2_Startup(CLEAR). */
  startup(): Promise<void>;
  /** TPM2_Shutdown(CLEAR). */
  shutdown(): Promise<void>;
  /** Extends one PCR in all the banks given; digests are hex. */
  extend(pcr: number, digests: Readonly<Partial<Record<PcrBank, string>>>): Promise<void>;
  /** One PCR of one bank, hex; `null` where the bank is not allocated. */
  readPcr(bank: PcrBank, pcr: number): Promise<string | null>;
  readClock(): Promise<{
    readonly clock: bigint;
    readonly resetCount: number;
    readonly restartCount: number;
    readonly safe: boolean;
  }>;
  close(): Promise<void>;
}

/** Opens a software TPM's command socket. It serves one connection at a time: close it before a tool runs. */
export async function openCommands(path: string): Promise<TpmCommands> {
  const wire = await openWire(path);
  return {
    async startup() {
      await send(wire, noSessions, commandCode.startup, [u16(0)]);
    },
    async shutdown() {
      await send(wire, noSessions, commandCode.shutdown, [u16(0)]);
    },
    async extend(pcr, digests) {
      await send(wire, withSessions, commandCode.pcrExtend, [u32(pcr), passwordSession, digestList(digests)]);
    },
    async readPcr(bank, pcr) {
      const select = Buffer.alloc(3);
      select.writeUInt8(1 << (pcr % 8), pcr >> 3);
      const selection = [u32(1), u16(bankAlgorithms[bank]), Buffer.from([3]), select];
      const answer = await send(wire, noSessions, commandCode.pcrRead, selection);
      // updateCounter, one TPMS_PCR_SELECTION, then TPML_DIGEST with one or no digest
      const digests = answer.subarray(4 + 4 + 6);
      if (digests.readUInt32BE(0) === 0) return null;
      return digests.subarray(6, 6 + digests.readUInt16BE(4)).toString('hex');
    },
    async readClock() {
      const answer = await send(wire, noSessions, commandCode.readClock, []);
      return {
        clock: answer.readBigUInt64BE(8),
        resetCount: answer.readUInt32BE(16),
        restartCount: answer.readUInt32BE(20),
        safe: answer.readUInt8(24) === 1,
      };
    },
    close: () => wire.close(),
  };
}

/** TPMS_AUTH_COMMAND of TPM_RS_PW with an empty password, with its size. */
const passwordSession = Buffer.from('00000009400000090000010000', 'hex');

function digestList(digests: Readonly<Partial<Record<PcrBank, string>>>): Buffer {
  const values: Buffer[] = [];
  for (const bank of pcrBanks) {
    const digest = digests[bank];
    if (digest === undefined) continue;
    const bytes = Buffer.from(digest, 'hex');
    if (bytes.length !== bankBytes[bank]) throw new Error(`not a ${bank} digest: ${digest}`);
    values.push(u16(bankAlgorithms[bank]), bytes);
  }
  return Buffer.concat([u32(values.length / 2), ...values]);
}

/** Sends one command and returns what follows the response code. TPM 2.0 Part 1 r1.59, section 18. */
async function send(wire: Wire, tag: number, code: number, body: readonly Buffer[]): Promise<Buffer> {
  const rest = Buffer.concat(body);
  const request = Buffer.concat([u16(tag), u32(10 + rest.length), u32(code), rest]);
  const answer = await wire.ask(
    request,
    (bytes) => bytes.length >= 10 && bytes.length >= bytes.readUInt32BE(2),
  );
  const response = answer.readUInt32BE(6);
  if (response !== 0) {
    throw new Error(
      `the software TPM answered command 0x${code.toString(16)} with 0x${response.toString(16)}`,
    );
  }
  return answer.subarray(10);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
