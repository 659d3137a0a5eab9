import type { PodContainer } from './rendered-pods.ts';

/** What the kubelet brings to a container: folders, and what it knows only then. */
export interface Started {
  /** Folders and files of this machine by the name of their volume. */
  readonly volumes: Readonly<Record<string, string>>;
  /** Beside those of the manifest, or in place of them. */
  readonly env?: Readonly<Record<string, string>>;
  /** A namespace of networks, as a path below /proc; default: that of this machine. */
  readonly network?: string;
}

/** Runs containers of the images that were built. */
export interface ContainerRunner extends AsyncDisposable {
  /** How, in one sentence, and what that leaves untried. */
  readonly way: string;
  /** Starts it, and leaves it running. */
  start(container: PodContainer, started: Started): Promise<RunningContainer>;
}

export interface RunningContainer {
  /** What it wrote so far, on both streams. */
  log(): Promise<string>;
  /** Ends it at once, as the kernel does where memory runs out. */
  kill(): Promise<void>;
  /** Resolves with its exit status once it has ended. */
  ended(): Promise<number>;
  /** Runs a program in it, as its own user. @returns what that writes. @throws ToolError */
  exec(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<string>;
  /** /proc/PID/status of its first process. */
  status(): Promise<string>;
}
