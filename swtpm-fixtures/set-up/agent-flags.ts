/**
 * With what the launcher starts the Node of `assay-agent`. It lives long, computes little and runs on every node: without
 * a compiler to machine code and what one notes, without threads of its own, and with a small place for new objects, it
 * holds a fifth less memory. These are known to each Node, so that one which is too old can say so.
 */
export const flagsOfAnyNode = ['--lite-mode', '--max-semi-space-size=1', '--v8-pool-size=0'] as const;

/** Those of the Node that comes with the package. No signal opens a debugger's port in it. */
export const agentFlags = [
  ...flagsOfAnyNode,
  '--invocation-count-for-feedback-allocation=1000000',
  '--disable-sigusr1',
] as const;

/** `assay` ends soon after it has loaded: room for what that makes, so that nothing is collected meanwhile. */
export const assayFlags = ['--min-semi-space-size=16'] as const;
