import { type Bank, banks, type PcrSelection, type PcrValues } from 'node-tpm2/pcrs';
import { ToolError, type ToolErrorCode } from 'node-tpm2/run';
import { brokerName, type FrameBounds } from './frames.ts';

/** The bounds of a request: the longest is an activation of 132 and 1024 bytes in Base64. */
export const requestBounds: FrameBounds = { json: 4096 };

type PcrNumbers = { readonly [bank in Bank]?: readonly number[] };

/** A request as it is sent, its bytes in Base64. No request names a key, a handle or a template: the keys are those of the fixed templates. */
export type Request =
  | { readonly verb: 'quote'; readonly qualifyingData: string; readonly selection: PcrNumbers }
  | { readonly verb: 'readPCRs'; readonly selection: PcrNumbers }
  | { readonly verb: 'readPublic' | 'readCertificates' }
  | { readonly verb: 'activate'; readonly credential: string; readonly secret: string };

/** A request as it was checked. */
export type CheckedRequest =
  | { readonly verb: 'quote'; readonly qualifyingData: Buffer; readonly selection: PcrSelection }
  | { readonly verb: 'readPCRs'; readonly selection: PcrSelection }
  | { readonly verb: 'readPublic' | 'readCertificates' }
  | { readonly verb: 'activate'; readonly credential: Buffer; readonly secret: Buffer };

/** The five verbs, and the other members of a request for each. */
const members = {
  quote: ['qualifyingData', 'selection'],
  readPCRs: ['selection'],
  readPublic: [],
  readCertificates: [],
  activate: ['credential', 'secret'],
} as const satisfies Record<Request['verb'], readonly string[]>;

/**
 * Without the schema library: it would be a tenth of what the broker holds in memory.
 * @throws ToolError `bad_input`, which repeats nothing of the request
 */
export function parseRequest(payload: Buffer): CheckedRequest {
  const given = membersOf(jsonOf(payload), 'request');
  const verb = verbOf(given.get('verb'));
  const known: readonly string[] = members[verb];
  if (given.size !== known.length + 1 || !known.every((name) => given.has(name))) throw refusal('request');
  switch (verb) {
    case 'quote':
      return {
        verb,
        qualifyingData: bytesOf(given, 'qualifyingData', 32, 64),
        selection: selectionOf(given),
      };
    case 'readPCRs':
      return { verb, selection: selectionOf(given) };
    case 'readPublic':
    case 'readCertificates':
      return { verb };
    case 'activate':
      // TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, with their size fields.
      return {
        verb,
        credential: bytesOf(given, 'credential', 3, 132),
        secret: bytesOf(given, 'secret', 3, 1024),
      };
  }
}

function jsonOf(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
}

function membersOf(value: unknown, where: string): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refusal(where);
  return new Map(Object.entries(value));
}

function verbOf(given: unknown): Request['verb'] {
  switch (given) {
    case 'quote':
    case 'readPCRs':
    case 'readPublic':
    case 'readCertificates':
    case 'activate':
      return given;
    default:
      throw refusal('verb');
  }
}

/** Of Base64 with its padding. */
function bytesOf(given: ReadonlyMap<string, unknown>, name: string, least: number, most: number): Buffer {
  const text = given.get(name);
  if (typeof text !== 'string' || text.length > 4 * Math.ceil(most / 3) || !base64.test(text))
    throw refusal(name);
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length < least || bytes.length > most) throw refusal(name);
  return bytes;
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function selectionOf(given: ReadonlyMap<string, unknown>): PcrSelection {
  const chosen = membersOf(given.get('selection'), 'selection');
  const selection: { [bank in Bank]?: readonly number[] } = {};
  for (const [name, numbers] of chosen) {
    const bank = banks.find((known) => known === name);
    if (bank === undefined || !isSelected(numbers)) throw refusal('selection');
    selection[bank] = numbers;
  }
  if (chosen.size === 0) throw refusal('selection');
  return selection;
}

function isSelected(numbers: unknown): numbers is readonly number[] {
  return (
    Array.isArray(numbers) &&
    numbers.length >= 1 &&
    numbers.length <= 24 &&
    numbers.every((pcr) => Number.isInteger(pcr) && pcr >= 0 && pcr <= 23)
  );
}

/** Which member is wrong; never what it holds. */
function refusal(where: string): ToolError {
  return new ToolError(`${where}: the TPM broker does not take this`, {
    code: 'bad_input',
    tool: brokerName,
  });
}

/** A fault as it is sent. */
interface FaultAnswer {
  readonly error: {
    readonly code: ToolErrorCode;
    readonly tool: string;
    readonly retryable: boolean;
    readonly text: string;
  };
}

/** The caller gets the same failure as from its own TPM. */
export function faultAnswer({ code, tool, retryable, message }: ToolError): FaultAnswer {
  return { error: { code, tool: tool.slice(0, 64), retryable, text: message.slice(0, 1024) } };
}

/** No place is free. Only the broker says it, so the caller knows it from a fault of the TPM. */
export function busyFault(): ToolError {
  return new ToolError('too many programs ask the TPM broker at once', {
    code: 'lock_failed',
    tool: brokerName,
    retryable: true,
  });
}

/** In Base64, as they are sent. */
export function encodeValues(pcrs: PcrValues): { [bank in Bank]?: string } {
  const encoded: { [bank in Bank]?: string } = {};
  for (const bank of banks) {
    const given = pcrs[bank];
    if (given !== undefined) encoded[bank] = given.toString('base64');
  }
  return encoded;
}
