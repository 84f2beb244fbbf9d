// The sandbox of a daemon that root has not started: what it takes to make one is had in a user namespace.
#pragma once

#include "id_map.h"

namespace ovfsd::launcher {

/// Whether this process, which is not root, may make one, and all that the sandbox needs in it. Tries it.
bool can_make_user_namespace();

/// This process goes into a user namespace, and a mount namespace that belongs to it and looks like the host's. There
/// it is user and group 0 where the maps have those, and who it was elsewhere. An empty map: who it is, and nobody
/// else.
/// @throws std::system_error, std::runtime_error (newuidmap has said why), std::invalid_argument
void enter_user_namespace(IdMap users, IdMap groups);

}  // namespace ovfsd::launcher
