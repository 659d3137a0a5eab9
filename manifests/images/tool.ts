import { run } from 'node-tpm2/run';

/** Runs a program of the machine to its end, and gives what it prints. @throws ToolError */
export type Tool = (program: string, args: readonly string[], input?: Uint8Array) => Promise<string>;

/** @param env what programs that fetch need to know, beside the few variables that all get */
export function toolWith(env: Readonly<Record<string, string>>): Tool {
  return async (program, args, input) => {
    const { stdout } = await run(program, args, {
      timeoutMs: 15 * 60_000,
      maxOutputBytes: 64 * 1024 * 1024,
      env,
      ...(input && { input }),
    });
    return stdout.toString('utf8');
  };
}

/** What programs that fetch need to know: where they keep what they have, and the way out. */
const handedOn =
  /^(HOME|TMPDIR|XDG_RUNTIME_DIR|(https?|no)_proxy|NODE_EXTRA_CA_CERTS|npm_config_(cache|registry|userconfig|offline))$/i;

/** One for programs that fetch. @param env the whole of ours, of which they get what they need */
export function fetchingTool(env: Readonly<Record<string, string | undefined>>): Tool {
  return toolWith(
    Object.fromEntries(
      Object.entries(env).flatMap(([name, value]) =>
        handedOn.test(name) && value !== undefined ? [[name, value] as const] : [],
      ),
    ),
  );
}
