{
  "targets": [
    {
      "target_name": "ovfsd_frontend",
      "sources": [
        "addon.cc",
        "buffer_allocator.cc",
        "connection.cc",
        "driver_vring.cc",
        "front_end.cc",
        "front_end_object.cc",
        "guest_memory.cc",
        "request_table.cc"
      ],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "defines": ["NODE_ADDON_API_CPP_EXCEPTIONS_ALL"],
      "cflags_cc!": ["-std=gnu++17", "-std=c++17", "-fno-rtti"],
      "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-O2"]
    }
  ]
}
