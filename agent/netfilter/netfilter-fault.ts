import { ToolError } from 'node-tpm2/run';

/** Why the rules could not be read, as sent to a client: never an empty ruleset. */
export type NetfilterFaultCode =
  | 'missing_program'
  | 'not_permitted'
  | 'timeout'
  | 'too_large'
  | 'too_many_rules'
  | 'locked'
  | 'namespace_gone'
  | 'malformed'
  | 'hidden_rules'
  | 'unproven'
  | 'aborted'
  | 'unreachable'
  | 'failed';

export class NetfilterFault extends Error {
  override readonly name = 'NetfilterFault';
  readonly code: NetfilterFaultCode;

  constructor(code: NetfilterFaultCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** The fault in a program's end, by what it said. */
export function faultOf(error: unknown): NetfilterFault {
  if (error instanceof NetfilterFault) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new NetfilterFault(codeOf(error, text), text, error);
}

function codeOf(error: unknown, text: string): NetfilterFaultCode {
  if (error instanceof ToolError) {
    if (error.code === 'missing_program' || error.code === 'timeout' || error.code === 'aborted')
      return error.code;
    if (error.code === 'output_bound') return 'too_large';
  } else if (error instanceof Error && 'code' in error)
    return error.code === 'EACCES' || error.code === 'EPERM' ? 'not_permitted' : 'failed';
  if (/nsenter: (?:cannot open|reassociate to namespace)/.test(text)) return 'namespace_gone';
  // What nsenter and setpriv say where they find no program.
  if (/failed to execute .*No such file/.test(text)) return 'missing_program';
  if (/xtables lock|[Rr]esource temporarily unavailable/.test(text)) return 'locked';
  return /not permitted|Permission denied|must be root/.test(text) ? 'not_permitted' : 'failed';
}
