import { Argument, Command, Option } from 'commander';
import { besiege, type SiegeName, siegeNames, siegeText } from '../attacks/siege.ts';
import { benchAgainst } from './against.ts';
import { benchAgent } from './agent.ts';
import { benchAttestation } from './attestation.ts';
import { benchAudit } from './audit.ts';
import { benchBootLog } from './boot-log.ts';
import { benchBoots } from './boots.ts';
import { benchCandidates } from './candidates.ts';
import { benchAgents, benchConnections, benchTarpit, type Sizes } from './crowd.ts';
import { benchDetection } from './detection.ts';
import { benchEvents } from './events.ts';
import { benchFirewall } from './firewall.ts';
import { benchForecast } from './forecast.ts';
import { benchGrowth } from './growth.ts';
import { benchIdle } from './idle.ts';
import { benchIma } from './ima.ts';
import { benchInitrd } from './initrd.ts';
import { benchKeyStorm } from './key-storm.ts';
import { benchLogged } from './logged.ts';
import { benchMarking } from './marking.ts';
import { benchNewNodes } from './new-nodes.ts';
import { benchQuoteToKey } from './quote-to-key.ts';
import { benchRewrap } from './rewrap.ts';
import { benchScrape } from './scrape.ts';
import { isSmallest, sized } from './sized.ts';
import { benchStart } from './start.ts';
import { benchSteadyBoot } from './steady-boot.ts';
import { benchVerifyQuote } from './verify-quote.ts';

interface Options extends Sizes {
  readonly commit?: string;
  readonly only?: readonly SiegeName[];
  readonly attackers?: number;
  readonly pairs: number;
}

/** Each gives one or more members of the object that is printed. Later ones are added here. */
const benches: Readonly<
  Record<string, (full: boolean, options: Options) => Promise<Readonly<Record<string, unknown>>>>
> = {
  verify_quote: async () => ({ verify_quote: await benchVerifyQuote() }),
  boot_log: async () => ({ boot_log: await benchBootLog(), boot_log_steady: await benchSteadyBoot() }),
  boots: benchBoots,
  attestation: async () => ({ attestation: await benchAttestation() }),
  start: async () => ({ start_ms: await benchStart() }),
  agent: async () => ({ agent: await benchAgent() }),
  idle: benchIdle,
  detection: benchDetection,
  audit: async (full) => ({ audit: await benchAudit(full) }),
  firewall: async () => ({ firewall: benchFirewall() }),
  ima: async () => ({ ima: benchIma() }),
  initrd: async () => ({ initrd: await benchInitrd() }),
  marking: async () => ({ marking: await benchMarking() }),
  new_nodes: async () => ({ new_nodes: await benchNewNodes() }),
  scrape: async () => ({ scrape: await benchScrape() }),
  events: async () => ({ events: await benchEvents() }),
  forecast: async () => ({ forecast: await benchForecast() }),
  candidates: async () => ({ candidates: await benchCandidates() }),
  growth: async () => ({ growth: await benchGrowth() }),
  logged: async () => ({ logged_bytes: await benchLogged() }),
  keys: async (full, sizes) => ({
    keys: {
      one_boot: await benchQuoteToKey(),
      storm: await benchKeyStorm(full, sizes),
      rewrap: await benchRewrap(),
    },
  }),
  tarpit: benchTarpit,
  connections: benchConnections,
  agents: async (full, sizes) => ({ agents: await benchAgents(full, sizes) }),
};
/** Asked for by name alone, or at their smallest: one needs a commit, the other takes minutes and can fail. */
const onlyByName = ['against', 'siege'] as const;

const program = new Command('npm run bench --')
  .description('Figures of one run on this machine; ratios are within the run.')
  .addArgument(new Argument('[name]', 'only this one').choices([...Object.keys(benches), ...onlyByName]))
  .addOption(new Option('-o, --output <format>').choices(['text', 'json']).default('text'))
  .option(
    '--full',
    'as long and as many as the figures are stated for: 200 messages each, 5,000 agents, 10 million audit entries',
  )
  .option(
    '--smallest',
    'each as little as it can do, and against the commit that is checked out: to see that it works',
  )
  .option('--connections <count>', 'of the bench connections', Number)
  .option('--messages <count>', 'that each connection sends before memory is measured', Number)
  .option('--more <count>', 'further messages, over which memory may not grow', Number)
  .option('--agents <count>', 'of the bench agents', Number)
  .option('--every <seconds>', 'from one message of a connection or an agent to its next', Number)
  .option('--seconds <seconds>', 'that the agents are watched, or besieged', Number)
  .addOption(new Option('--only <name...>', 'of the bench siege: these alone').choices(siegeNames))
  .option('--attackers <count>', "of the bench siege: nodes that are the attacker's", Number)
  .option('--commit <revision>', 'of the bench against, which needs it: the old side, such as HEAD~1')
  .option('--pairs <count>', 'of the bench against: how often old and new are run', Number, sized(20, 1))
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse();

const {
  output,
  full = false,
  ...options
} = program.opts<{ output: 'text' | 'json'; full?: boolean } & Options>();
const [only] = program.args;
const figures: Record<string, unknown> = {};
for (const [name, bench] of Object.entries(benches)) {
  if (only !== undefined && only !== name) continue;
  process.stderr.write(`bench: ${name} ...\n`);
  Object.assign(figures, await bench(full, options));
}
if (only === 'against' || (only === undefined && isSmallest)) {
  const { commit = isSmallest ? 'HEAD' : '', pairs } = options;
  if (commit === '') program.error('against what? Name a commit: --commit HEAD~1', { exitCode: 2 });
  process.stderr.write('bench: against ...\n');
  figures.against = await benchAgainst({ commit, pairs });
}
const besieges = only === 'siege' || (only === undefined && isSmallest);
// An enrolled attacker does all at once.
const smallest = { seconds: 3, attackers: 1, only: ['unproven-bytes', 'mixed'] } as const;
const sieges = besieges ? await besiege(isSmallest ? { ...smallest, ...options } : options) : {};
for (const { figures: made, missed } of Object.values(sieges)) {
  // In seconds no bound can be held, but a siege that could not be made has no figures.
  const isFaulty = isSmallest ? Object.keys(made).length === 0 : missed.length > 0;
  if (isFaulty) process.exitCode = 1;
}
if (only === 'siege' && output === 'text') process.stdout.write(siegeText(sieges));
else {
  if (besieges) figures.siege = sieges;
  process.stdout.write(`${JSON.stringify(figures, null, output === 'json' ? undefined : 2)}\n`);
}
