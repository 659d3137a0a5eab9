/**
 * With what the launcher starts the Node of `assay-agent`. It lives long, computes little and runs on every node: without
 * a compiler to machine code, and with a small place for new objects, it holds a fifth less memory.
 */
export const agentFlags = ['--lite-mode', '--max-semi-space-size=1'] as const;
