import { NetfilterFault, type NetfilterFaultCode } from './netfilter-fault.ts';

/**
 * The messages on the socket, a line each. The client: `read`, as often as it likes, one after the other. The program:
 * `moved`; and the answer, `rules BYTES` with so many bytes of the part `firewall` after the line, or `fault CODE TEXT`.
 */
export const request = 'read';
export const moved = 'moved\n';

/** The longest line that the program sends, and that it takes. */
export const longest = { answer: 2048, request: 16 } as const;

export function rulesLine(bytes: Buffer): string {
  return `rules ${bytes.length}\n`;
}

export function faultLine({ code, message }: NetfilterFault): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const text = message.replace(/[\x00-\x1f\x7f]+/g, ' ').slice(0, 400);
  return `fault ${code} ${text}\n`;
}

export type NetfilterMessage =
  | { readonly kind: 'moved' }
  | { readonly kind: 'rules'; readonly bytes: number }
  | { readonly kind: 'fault'; readonly fault: NetfilterFault };

/** @throws NetfilterFault `malformed` */
export function parseSaid(line: string, mostBytes: number): NetfilterMessage {
  if (`${line}\n` === moved) return { kind: 'moved' };
  const bytes = /^rules (\d{1,10})$/.exec(line)?.[1];
  if (bytes !== undefined) {
    if (Number(bytes) <= mostBytes) return { kind: 'rules', bytes: Number(bytes) };
    throw new NetfilterFault('too_large', `the rules take ${bytes} bytes: more than ${mostBytes}`);
  }
  const [, code, text] = /^fault ([a-z_]{1,32}) (.*)$/.exec(line) ?? [];
  if (code === undefined || text === undefined)
    throw new NetfilterFault(
      'malformed',
      'the program that answers at the socket is not assay-agent netfilter',
    );
  return { kind: 'fault', fault: new NetfilterFault(isCode(code) ? code : 'failed', text) };
}

const codes: Readonly<Record<NetfilterFaultCode, true>> = {
  missing_program: true,
  not_permitted: true,
  timeout: true,
  too_large: true,
  too_many_rules: true,
  locked: true,
  namespace_gone: true,
  malformed: true,
  hidden_rules: true,
  unproven: true,
  aborted: true,
  unreachable: true,
  failed: true,
};

function isCode(code: string): code is NetfilterFaultCode {
  return Object.hasOwn(codes, code);
}
