import type { AgentConfig } from './config.ts';
import { createLogger } from './logger.ts';
import type { NetfilterConfig } from './netfilter/config.ts';
import { stopSignal } from './stop-signal.ts';
import type { BrokerConfig } from './tpm-broker/config.ts';

/** A program that stays for as long as the node runs, with its settings as they were checked: JSON can hold it. */
export type Resident =
  | { readonly program: 'run'; readonly config: AgentConfig }
  | { readonly program: 'tpm-broker'; readonly config: BrokerConfig }
  | { readonly program: 'netfilter'; readonly config: NetfilterConfig };

/**
 * Runs it until the process is asked to end. It loads its own code alone.
 * @throws AgentError, ToolError, each with its next step
 */
export async function runResident(resident: Resident, environment: NodeJS.ProcessEnv): Promise<void> {
  const { program, config } = resident;
  const logger = createLogger(config.logLevel, program === 'run' ? { node: config.node } : {});
  const signal = stopSignal();
  switch (program) {
    case 'run': {
      const { runAgent } = await import('./run.ts');
      const changes = new EventTarget();
      process.on('SIGHUP', () => changes.dispatchEvent(new Event('changed')));
      return runAgent(config, { logger, signal, changes });
    }
    case 'tpm-broker': {
      const { runBroker } = await import('./tpm-broker/run.ts');
      return runBroker(config, { logger, signal, environment });
    }
    case 'netfilter': {
      const { runNetfilter } = await import('./netfilter/serve.ts');
      return runNetfilter(config, { logger, signal });
    }
  }
}
