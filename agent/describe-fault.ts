import { ToolError } from 'node-tpm2/run';
import { AgentError } from './agent-error.ts';

/** A fault as the log has it. */
export function describeFault(error: unknown): { readonly code: string; readonly text: string } {
  if (error instanceof ToolError || error instanceof AgentError)
    return { code: error.code, text: error.message };
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'failed';
  return { code, text: error instanceof Error ? error.message : String(error) };
}
