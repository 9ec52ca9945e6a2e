mod network;
mod normal_case;
mod view_change;
