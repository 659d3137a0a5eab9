import type { Guest } from './guest.ts';

/** The commands of a guest's TPM that a boot needs: TPM 2.0 Part 3 r1.59. All in the SHA-256 bank. */
const sha256 = 0x000b;
const digestBytes = 32;
/** TPMS_AUTH_COMMAND of TPM_RS_PW with an empty password, with its size. */
const password = Buffer.from('00000009400000090000010000', 'hex');

export interface Key {
  readonly handle: Buffer;
  /** TPMT_PUBLIC */
  readonly publicArea: Buffer;
}

export function extendCommand(pcr: number, digest: string): Buffer {
  return command(true, 0x182, u32(pcr), password, u32(1), u16(sha256), Buffer.from(digest, 'hex'));
}

/** The template of node-tpm2's attestation key: primary in the endorsement hierarchy, ECC P-256. */
export async function createKey(guest: Guest): Promise<Key> {
  const area = Buffer.from('0023000b00050472000000100018000b00030010' + '00000000', 'hex');
  const answer = await send(
    guest,
    command(true, 0x131, u32(0x4000_000b), password, sized(Buffer.alloc(4)), sized(area), u16(0), u32(0)),
  );
  const size = answer.readUInt16BE(8);
  return { handle: answer.subarray(0, 4), publicArea: answer.subarray(10, 10 + size) };
}

/** Over all PCRs. */
export async function quote(
  guest: Guest,
  { handle }: Key,
  over: Buffer,
): Promise<{ readonly attest: Buffer; readonly signature: Buffer }> {
  const answer = await send(
    guest,
    command(true, 0x158, handle, password, sized(over), u16(0x0010), selection(0xffffff)),
  );
  const end = 4 + answer.readUInt32BE(0);
  const size = answer.readUInt16BE(4);
  return { attest: answer.subarray(6, 6 + size), signature: answer.subarray(6 + size, end) };
}

/** The values of all PCRs, in order. */
export async function readPcrs(guest: Guest): Promise<readonly Buffer[]> {
  const values: Buffer[] = [];
  for (let pcr = 0; pcr < 24; pcr++) {
    const answer = await send(guest, command(false, 0x17e, selection(1 << pcr)));
    values.push(answer.subarray(answer.length - digestBytes));
  }
  return values;
}

function selection(mask: number): Buffer {
  return Buffer.concat([u32(1), u16(sha256), Buffer.of(3, mask & 0xff, (mask >> 8) & 0xff, mask >> 16)]);
}

function command(hasSession: boolean, code: number, ...body: readonly Buffer[]): Buffer {
  const rest = Buffer.concat(body);
  return Buffer.concat([u16(hasSession ? 0x8002 : 0x8001), u32(10 + rest.length), u32(code), rest]);
}

/** What follows the response code. */
async function send(guest: Guest, request: Buffer): Promise<Buffer> {
  const answer = await guest.command(request);
  const code = answer.length < 10 ? null : answer.readUInt32BE(6);
  if (code !== 0) throw new Error(`the guest's TPM answered 0x${code?.toString(16)}`);
  return answer.subarray(10);
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([u16(bytes.length), bytes]);
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
