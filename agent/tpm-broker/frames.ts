/** How its faults name the TPM broker. */
export const brokerName = 'tpm-broker';

/** The content of a frame: a request or an answer as JSON, or the secret of an activation, which is in no string. */
export const frameKinds = { json: 1, secret: 2 } as const;
export type FrameKind = keyof typeof frameKinds;

export interface BrokerFrame {
  readonly kind: FrameKind;
  /** A copy. Whoever takes a secret wipes it. */
  readonly payload: Buffer;
}

/** A byte of kind, the length as unsigned 32-bit big-endian, the bytes. */
export function encodeFrame(kind: FrameKind, payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(headerBytes + payload.length);
  frame[0] = frameKinds[kind];
  frame.writeUInt32BE(payload.length, 1);
  frame.set(payload, headerBytes);
  return frame;
}

const headerBytes = 5;

/** Bytes of the longest payload by kind; a kind that is not named is not taken. */
export type FrameBounds = { readonly [kind in FrameKind]?: number };

/** Why bytes are no frame. It tells none of them. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/** Takes a stream apart. It holds what was sent, never what a length announces. */
export class FrameReader {
  readonly #bounds: FrameBounds;
  #held: Buffer = Buffer.alloc(0);

  constructor(bounds: FrameBounds) {
    this.#bounds = bounds;
  }

  push(chunk: Buffer): void {
    const before = this.#held;
    this.#held = Buffer.concat([before, chunk]);
    before.fill(0);
    chunk.fill(0);
  }

  /** The next whole frame; null if it is still to come. @throws FrameError at the header, before the bytes are there */
  next(): BrokerFrame | null {
    const [code] = this.#held;
    if (code === undefined) return null;
    const kind = code === frameKinds.json ? 'json' : code === frameKinds.secret ? 'secret' : undefined;
    const most = kind === undefined ? undefined : this.#bounds[kind];
    if (kind === undefined || most === undefined) throw new FrameError(`kind: ${code} is none that is taken`);
    if (this.#held.length < headerBytes) return null;
    const length = this.#held.readUInt32BE(1);
    if (length > most) throw new FrameError(`length: ${length} bytes, and at most ${most} are taken`);
    const end = headerBytes + length;
    if (this.#held.length < end) return null;
    const payload = Buffer.from(this.#held.subarray(headerBytes, end));
    this.#held.fill(0, 0, end);
    this.#held = this.#held.subarray(end);
    return { kind, payload };
  }

  /** Wipes what is held. */
  clear(): void {
    this.#held.fill(0);
    this.#held = Buffer.alloc(0);
  }
}
