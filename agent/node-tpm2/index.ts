export { decodeResponseCode, parseResponseCode, type ResponseCode } from './response-code.ts';
export { type RunOptions, type RunResult, run, type StartOptions, start, startError } from './run.ts';
export { ToolError, type ToolErrorCode } from './tool-error.ts';
export {
  type AttestationKey,
  type Bank,
  type Capabilities,
  type Credential,
  type EndorsementKey,
  openTpm,
  type PcrSelection,
  type PcrValues,
  type Quote,
  type QuoteRequest,
  type Tpm,
  type TpmOptions,
} from './tpm.ts';
