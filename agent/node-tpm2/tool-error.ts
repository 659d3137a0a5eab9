/** Why a program gave no answer; `failed` is an exit for any other reason. */
export const toolErrorCodes = [
  'missing_program',
  'timeout',
  'output_bound',
  'aborted',
  'failed',
  'pcrs_moved',
  'no_tpm',
  'bad_input',
  'no_endorsement_key',
  'lock_failed',
  'closed',
] as const;
export type ToolErrorCode = (typeof toolErrorCodes)[number];

export interface ToolErrorDetails {
  readonly code: ToolErrorCode;
  readonly tool: string;
  readonly exitCode?: number | null;
  readonly signal?: string | null;
  readonly responseCode?: number;
  readonly responseName?: string;
  readonly command?: string | null;
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** A program, or the TPM behind it, that did not do what was asked. It never carries secrets, input or output. */
export class ToolError extends Error {
  override readonly name = 'ToolError';
  readonly code: ToolErrorCode;
  readonly tool: string;
  /** The program's exit status; null if it did not exit by itself. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** TPM_RC, or a TSS2_RC with its layer in bits 16 to 23. */
  readonly responseCode: number | undefined;
  /** The code's name in TPM 2.0 Part 2 r1.59, 6.6, for example TPM_RC_RETRY. */
  readonly responseName: string | undefined;
  /** The TPM command that gave it, for example `ContextLoad`; null if the tool names none. */
  readonly command: string | null;
  /** Whether the same call may succeed if it is simply made again. */
  readonly retryable: boolean;

  constructor(message: string, details: ToolErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.tool = details.tool;
    this.exitCode = details.exitCode ?? null;
    this.signal = details.signal ?? null;
    this.responseCode = details.responseCode;
    this.responseName = details.responseName;
    this.command = details.command ?? null;
    this.retryable = details.retryable ?? false;
  }
}
