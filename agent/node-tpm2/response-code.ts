/** A response code of a TPM or of the software stack before it. */
export interface ResponseCode {
  /** As printed: TPM_RC, or TSS2_RC with its layer in bits 16 to 23. */
  readonly value: number;
  /** TPM 2.0 Part 2 r1.59, 6.6; for another layer its name and the number. */
  readonly name: string;
  /** Whether the command, repeated as it is, may succeed. */
  readonly retryable: boolean;
  /** The parameter, handle or session that a format-one code is about, for example `session 1`. */
  readonly about: string | null;
}

/** The TPM command that failed, taken from the stderr of a tpm2-tools program, for example `ContextLoad`. */
export function parseFailedCommand(stderr: string): string | null {
  return /\bEsys_(\w{1,40})\(0x/.exec(stderr)?.[1] ?? null;
}

/** Finds the first response code in the stderr of a tpm2-tools program. */
export function parseResponseCode(stderr: string): ResponseCode | null {
  const found = /\(\s*(0x[0-9a-fA-F]{1,8})\s*\)/.exec(stderr) ?? /\b(0x[0-9a-fA-F]{3,8})\b/.exec(stderr);
  return found === null ? null : decodeResponseCode(Number.parseInt(found[1]!, 16));
}

/** Decodes by TPM 2.0 Part 2 r1.59, 6.6.2 (format zero and format one) and the TSS 2.0 layers. */
export function decodeResponseCode(value: number): ResponseCode {
  const layer = (value >>> 16) & 0xff;
  // Layer 0 is the TPM itself, 11 and 12 a resource manager that speaks in the TPM's codes.
  if (layer !== 0 && layer !== 11 && layer !== 12) {
    const low = value & 0xffff;
    const name = `TSS2_${layers[layer] ?? `LAYER_${layer}`}_RC_${baseErrors[low] ?? `0x${low.toString(16)}`}`;
    return { value, name, retryable: low === 9, about: null };
  }
  const code = value & 0xfff;
  if (code & 0x080) {
    const name = formatOne[code & 0x3f];
    const number = (code >>> 8) & 0xf;
    const about =
      code & 0x040
        ? `parameter ${number}`
        : number & 0x8
          ? `session ${number & 7}`
          : number > 0
            ? `handle ${number}`
            : null;
    return {
      value,
      name: name === undefined ? `TPM_RC_0x${code.toString(16)}` : `TPM_RC_${name}`,
      retryable: false,
      about,
    };
  }
  const warning = (code & 0x800) !== 0;
  const name = (warning ? warnings : formatZero)[code & 0x7f];
  return {
    value,
    name: name === undefined ? `TPM_RC_0x${code.toString(16)}` : `TPM_RC_${name}`,
    retryable: name !== undefined && (warning ? retryableWarnings.has(name) : name === 'PCR_CHANGED'),
    about: null,
  };
}

const retryableWarnings: ReadonlySet<string> = new Set([
  'CONTEXT_GAP',
  'OBJECT_MEMORY',
  'SESSION_MEMORY',
  'MEMORY',
  'SESSION_HANDLES',
  'OBJECT_HANDLES',
  'YIELDED',
  'CANCELED',
  'TESTING',
  'NV_RATE',
  'NV_UNAVAILABLE',
  'RETRY',
]);

const layers: Readonly<Record<number, string>> = {
  6: 'FAPI',
  7: 'ESYS',
  8: 'SYS',
  9: 'MU',
  10: 'TCTI',
  11: 'RESMGR',
  12: 'RESMGR_TPM',
  13: 'DRIVER',
};

const baseErrors: Readonly<Record<number, string>> = {
  1: 'GENERAL_FAILURE',
  2: 'NOT_IMPLEMENTED',
  5: 'BAD_REFERENCE',
  6: 'INSUFFICIENT_BUFFER',
  7: 'BAD_SEQUENCE',
  8: 'NO_CONNECTION',
  9: 'TRY_AGAIN',
  10: 'IO_ERROR',
  11: 'BAD_VALUE',
  12: 'NOT_PERMITTED',
  18: 'MALFORMED_RESPONSE',
};

const formatOne: Readonly<Record<number, string>> = {
  1: 'ASYMMETRIC',
  2: 'ATTRIBUTES',
  3: 'HASH',
  4: 'VALUE',
  5: 'HIERARCHY',
  7: 'KEY_SIZE',
  8: 'MGF',
  9: 'MODE',
  10: 'TYPE',
  11: 'HANDLE',
  12: 'KDF',
  13: 'RANGE',
  14: 'AUTH_FAIL',
  15: 'NONCE',
  16: 'PP',
  18: 'SCHEME',
  21: 'SIZE',
  22: 'SYMMETRIC',
  23: 'TAG',
  24: 'SELECTOR',
  26: 'INSUFFICIENT',
  27: 'SIGNATURE',
  28: 'KEY',
  29: 'POLICY_FAIL',
  31: 'INTEGRITY',
  32: 'TICKET',
  33: 'RESERVED_BITS',
  34: 'BAD_AUTH',
  35: 'EXPIRED',
  36: 'POLICY_CC',
  37: 'BINDING',
  38: 'CURVE',
  39: 'ECC_POINT',
};

const formatZero: Readonly<Record<number, string>> = {
  0: 'INITIALIZE',
  1: 'FAILURE',
  3: 'SEQUENCE',
  11: 'PRIVATE',
  25: 'HMAC',
  32: 'DISABLED',
  33: 'EXCLUSIVE',
  36: 'AUTH_TYPE',
  37: 'AUTH_MISSING',
  38: 'POLICY',
  39: 'PCR',
  40: 'PCR_CHANGED',
  45: 'UPGRADE',
  46: 'TOO_MANY_CONTEXTS',
  47: 'AUTH_UNAVAILABLE',
  48: 'REBOOT',
  49: 'UNBALANCED',
  66: 'COMMAND_SIZE',
  67: 'COMMAND_CODE',
  68: 'AUTHSIZE',
  69: 'AUTH_CONTEXT',
  70: 'NV_RANGE',
  71: 'NV_SIZE',
  72: 'NV_LOCKED',
  73: 'NV_AUTHORIZATION',
  74: 'NV_UNINITIALIZED',
  75: 'NV_SPACE',
  76: 'NV_DEFINED',
  80: 'BAD_CONTEXT',
  81: 'CPHASH',
  82: 'PARENT',
  83: 'NEEDS_TEST',
  84: 'NO_RESULT',
  85: 'SENSITIVE',
};

const warnings: Readonly<Record<number, string>> = {
  1: 'CONTEXT_GAP',
  2: 'OBJECT_MEMORY',
  3: 'SESSION_MEMORY',
  4: 'MEMORY',
  5: 'SESSION_HANDLES',
  6: 'OBJECT_HANDLES',
  7: 'LOCALITY',
  8: 'YIELDED',
  9: 'CANCELED',
  10: 'TESTING',
  16: 'REFERENCE_H0',
  17: 'REFERENCE_H1',
  18: 'REFERENCE_H2',
  19: 'REFERENCE_H3',
  20: 'REFERENCE_H4',
  21: 'REFERENCE_H5',
  22: 'REFERENCE_H6',
  24: 'REFERENCE_S0',
  25: 'REFERENCE_S1',
  26: 'REFERENCE_S2',
  27: 'REFERENCE_S3',
  28: 'REFERENCE_S4',
  29: 'REFERENCE_S5',
  30: 'REFERENCE_S6',
  32: 'NV_RATE',
  33: 'LOCKOUT',
  34: 'RETRY',
  35: 'NV_UNAVAILABLE',
};
