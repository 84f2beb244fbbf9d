import tseslint from 'typescript-eslint'

// The layer rule: data flows one way, imports point down (ARCHITECTURE.md).
// Top to bottom: cli, control, config, server, fuse, virtio, passthrough, fs, cache, backends, interpose; observability is a leaf that any layer may import.
const layers = [
  'cli',
  'control',
  'config',
  'server',
  'fuse',
  'virtio',
  'passthrough',
  'fs',
  'cache',
  'backends',
  'interpose',
  'observability',
]

const layerRule = layers.map((layer, index) => {
  const above = layer === 'observability' ? layers.slice(0, -1) : layers.slice(0, index)
  return {
    files: [`src/${layer}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: above.map((name) => ({
            group: [`**/${name}/*`, `**/${name}/**`],
            message: `${layer} is below ${name}: imports point down only.`,
          })),
        },
      ],
    },
  }
})

export default tseslint.config(
  { ignores: ['dist/', 'build/', '**/build/', '.cache/', 'node_modules/'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
    },
  },
  {
    // node:test's describe/it/test return promises that the runner itself awaits.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            {
              from: 'package',
              name: ['test', 'it', 'describe', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
              package: 'node:test',
            },
          ],
        },
      ],
    },
  },
  ...layerRule,
)
