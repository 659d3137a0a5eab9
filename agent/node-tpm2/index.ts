/**
 * A package of its own: the verbs of a TPM through tpm2-tools, and `run`, the one runner that starts processes.
 */

export type { Credential } from './activate.ts';
export type { Capabilities } from './capabilities.ts';
export { type Bank, banks, type PcrSelection, type PcrValues } from './pcrs.ts';
export type { Quote, QuoteRequest } from './quote.ts';
export { decodeResponseCode, parseResponseCode, type ResponseCode } from './response-code.ts';
export { type RunOptions, type RunResult, run, type StartOptions, start, startError } from './run.ts';
export { ToolError, type ToolErrorCode, toolErrorCodes } from './tool-error.ts';
export { type AttestationKey, type EndorsementKey, openTpm, type Tpm } from './tpm.ts';
export type { TpmOptions } from './tpm-connection.ts';
export type { DuplicatedObject, UnsealPolicy } from './unseal.ts';
