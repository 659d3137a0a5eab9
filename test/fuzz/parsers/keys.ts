import { keyReleaseFrame, mostKeyRelease, parseKeyRelease } from '../../../attest-server/wire/key-release.ts';
import { keyRequestOf, parseKeyRequest } from '../../../attest-server/wire/key-request.ts';
import { madeKeyRelease, madeKeyRequest } from '../../attest-server/wire/made-keys.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { isBeyond, isRejection } from './refusals.ts';

export const keyRequest: FuzzedParser = {
  sources: ['attest-server/wire/key-request.ts'],
  form: { kind: 'big-endian' },
  most: 256,
  seeds: () => [keyRequestOf(madeKeyRequest())],
  parse: (bytes) => parseKeyRequest(bytes),
  isDeclared: isRejection,
  isPastHeader: isBeyond(1),
};

export const keyRelease: FuzzedParser = {
  sources: ['attest-server/wire/key-release.ts'],
  form: { kind: 'big-endian' },
  most: mostKeyRelease + 16,
  seeds: () => [keyReleaseFrame(madeKeyRelease()).subarray(1)],
  parse: (bytes) => parseKeyRelease(bytes),
  isDeclared: isRejection,
  isPastHeader: isBeyond(1),
};
