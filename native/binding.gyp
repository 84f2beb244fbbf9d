{
  'targets': [
    {
      'target_name': 'ovfsd_native',
      'sources': [
        # Node's glue
        'src/addon.cc',
        'src/allocator.cc',
        'src/checked_file_wrap.cc',
        'src/device_wrap.cc',
        'src/device_wrap_calls.cc',
        'src/device_wrap_file_calls.cc',
        'src/host_directory_wrap.cc',
        'src/host_file_wrap.cc',
        'src/host_process_wrap.cc',
        'src/host_tree_wrap.cc',
        'src/pool_wrap.cc',
        # the device; test/Makefile compiles these without Node
        'src/checked_file.cc',
        'src/descriptor_chain.cc',
        'src/device.cc',
        'src/fuse_framing.cc',
        'src/guest_memory.cc',
        'src/host_attributes.cc',
        'src/host_caller.cc',
        'src/host_data.cc',
        'src/host_directory.cc',
        'src/host_file.cc',
        'src/host_process.cc',
        'src/host_tree.cc',
        'src/request_arena.cc',
        'src/request_path.cc',
        'src/sigbus_guard.cc',
        'src/slab_memory.cc',
        'src/unix_listener.cc',
        'src/vhost_user_backend.cc',
        'src/vhost_user_connection.cc',
        'src/vhost_user_message.cc',
        'src/vring.cc',
      ],
      'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # 9 is what Node 20 offers without the experimental parts.
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
      'cflags_cc': ['-std=c++20', '-O2', '-fexceptions', '-frtti', '-Wall', '-Wextra', '-Werror',
                    # What is left where a mistake of ours meets a hostile guest.
                    '-fstack-protector-strong', '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2'],
      # The SIGBUS handler stays installed for the life of the process, so its code must not be unloaded with a worker.
      'ldflags': ['-Wl,-z,nodelete', '-Wl,-z,relro,-z,now'],
      'conditions': [['target_arch=="x64"', {'cflags_cc': ['-fcf-protection']}]],
    },
  ],
}
