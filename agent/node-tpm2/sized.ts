import { ToolError } from './tool-error.ts';

/**
 * Checks a TPM2B before a tool reads it: its size field, then as many bytes.
 * @throws ToolError `bad_input`
 */
export function checkSized(field: string, bytes: Buffer, most: number, tool: string): void {
  if (bytes.length > 2 && bytes.length <= most && bytes.readUInt16BE(0) === bytes.length - 2) return;
  throw new ToolError(`${field} has ${bytes.length} bytes, which is not what its size field says`, {
    code: 'bad_input',
    tool,
  });
}
